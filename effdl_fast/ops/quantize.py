"""The uniform quantizer (thesis Algorithm 1, lines 3 and 6)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import floating, integer, number, register
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._weights import MAX_BITS, code_dtype, range_dtype, workspace
from effdl_fast.ops._weights_ref import codes_of, finite, grid, min_max


class Quantized(NamedTuple):
    """Codes of a tensor and what they mean: code q stands for lo + (q + 0.5) * (hi - lo) / 2^bits."""

    codes: Tensor  # uint8 if bits <= 8, else uint16
    lo: Tensor  # 0-d, float64 for float64 sources, else float32
    hi: Tensor
    bits: int


def quantize(x: Tensor, bits: int, lo: float | Tensor | None = None, hi: float | Tensor | None = None) -> Quantized:
    """Codes min(floor((x - lo) * 2^bits / (hi - lo)), 2^bits - 1) of the elements of x.

    Thesis Algorithm 1, lines 3 and 6, with both algorithms measuring from lo; exactly as docs/format.md says, with the
    same codes on every device. `dequantize` is off by at most half a step, (hi - lo) / 2^(bits + 1), plus rounding.

    Args:
        x: float32, float64, float16 or bfloat16, any shape and strides; read as a constant. float64 is computed in
            float64, everything else in float32 (in float64 where float32 cannot divide the range).
        bits: 1 to 16.
        lo, hi: the range, finite, lo <= hi; a number, or a 0-d tensor on the CPU or on x's device. None: the smallest
            or largest element. Elements outside of a given range get its first or last code.

    Returns:
        Quantized(codes, lo, hi, bits), the codes in x's shape. If lo == hi all codes are 0; an empty x has the range
        (0, 0).

    Raises:
        ValueError: NaN or infinite elements or range; lo > hi; a float64 range that float64 cannot divide by 2^bits.
            On CUDA values are not looked at: a NaN or infinite element makes a computed range NaN, and such ranges have
            codes 0.
        TypeError, ValueError: wrong dtypes, shapes, devices or bits.
    """
    way = route("quantize", "x", x)
    if way == REFERENCE:
        return quantize_ref(x, bits, lo, hi)
    floating("quantize", "x", x)
    bits = integer("quantize", "bits", bits, 1, MAX_BITS)
    lo = None if lo is None else _bound("lo", lo, x)
    hi = None if hi is None else _bound("hi", hi, x)
    if way == DISPATCHER:
        codes, range_ = torch.ops.effdl_fast.quantize(x.detach(), bits, lo, hi)
    else:
        codes, range_ = _run(x, bits, lo, hi)
    ends = range_.unbind()
    return Quantized(codes, ends[0], ends[1], bits)


def _bound(name: str, value: Any, x: Tensor) -> Tensor | None:
    """A given end of the range as a 0-d tensor of the range's dtype on x's device."""
    if value is None:
        return None
    dtype = range_dtype(x)
    if not isinstance(value, Tensor):
        wide = torch.full((), number("quantize", name, value) + 0.0, dtype=torch.float64, device=x.device)
        return wide.to(dtype)
    if value.dim() != 0:
        raise ValueError(f"quantize: {name} must be a number or a 0-d tensor, got shape {tuple(value.shape)}")
    floating("quantize", name, value)
    if value.device != x.device and value.device.type != "cpu":
        raise ValueError(f"quantize: {name} must be on the CPU or on the device of x, {x.device}, got {value.device}")
    return value.detach().to(x.device, dtype) + 0.0  # -0 is written as 0


def _check_range(lo: float, hi: float) -> None:
    for name, bound in (("lo", lo), ("hi", hi)):
        if not float("-inf") < bound < float("inf"):
            raise ValueError(f"quantize: {name} must be finite, got {bound}")
    if lo > hi:
        raise ValueError(f"quantize: lo must not exceed hi, got {lo} and {hi}")


def _run(x: Tensor, bits: int, lo: Tensor | None, hi: Tensor | None) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    codes = torch.empty(x.shape, dtype=code_dtype(bits), device=x.device)
    range_ = torch.empty(2, dtype=range_dtype(x), device=x.device)
    if lo is None or hi is None:
        _C.min_max(x, range_, workspace("min_max", x))
    if lo is not None:
        range_[0] = lo
    if hi is not None:
        range_[1] = hi
    if not (lo is None and hi is None) and not x.is_cuda:
        _check_range(*range_.tolist())
    _C.quantize(x, codes, range_, bits)
    return codes, range_


def _fake(x: Tensor, bits: int, lo: Tensor | None, hi: Tensor | None) -> tuple[Tensor, Tensor]:
    codes = torch.empty(x.shape, dtype=code_dtype(bits), device=x.device)
    return codes, torch.empty(2, dtype=range_dtype(x), device=x.device)


register("quantize", "(Tensor x, int bits, Tensor? lo, Tensor? hi) -> (Tensor codes, Tensor range)", _run, _fake)


def quantize_ref(x: Tensor, bits: int, lo: float | Tensor | None = None, hi: float | Tensor | None = None) -> Quantized:
    """`quantize` in plain PyTorch. Errors that depend on values are raised on every device."""
    floating("quantize", "x", x)
    bits = integer("quantize", "bits", bits, 1, MAX_BITS)
    x = x.detach()
    finite("quantize", x)
    smallest, largest = min_max("quantize", x)
    start, end = _bound("lo", lo, x), _bound("hi", hi, x)
    start, end = smallest if start is None else start, largest if end is None else end
    _check_range(float(start), float(end))
    return Quantized(codes_of(x, grid("quantize", start, end, bits), bits), start, end, bits)

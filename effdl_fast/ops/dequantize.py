"""Weights of codes (thesis Algorithm 2, line 4)."""

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import FLOATS, dense, dtype_name, integer, register, same_device
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._weights import MAX_BITS, code_dtype
from effdl_fast.ops._weights_ref import grid, values_of
from effdl_fast.ops.quantize import Quantized


def dequantize(q: Quantized, dtype: torch.dtype = torch.float32) -> Tensor:
    """The middle of each code's step: lo + (code + 0.5) * (hi - lo) / 2^bits (thesis Algorithm 2, line 4).

    Args:
        q: what `quantize` returns: codes of any shape and strides, uint8 for up to 8 bits, else uint16; a finite range.
        dtype: float32, float64, float16 or bfloat16. Computed in the dtype of lo and hi (in float64 where float32
            cannot divide the range) and rounded to float32, then to a 16-bit dtype.

    Returns:
        The values in the shape of q.codes; the same bits on every device. Values beyond the dtype become infinite.

    Raises:
        ValueError: lo or hi not finite, lo > hi, or a float64 range that float64 cannot divide by 2^bits. On CUDA the
            range is not looked at, and the values of such a one are NaN.
        TypeError, ValueError: wrong dtypes, shapes, devices or bits.
    """
    _check(q, dtype)
    codes, lo, hi, bits = q
    way = route("dequantize", "q.codes", codes)
    if way == REFERENCE:
        return dequantize_ref(q, dtype)
    if way == DISPATCHER:
        return torch.ops.effdl_fast.dequantize(codes, lo.detach(), hi.detach(), bits, dtype)
    return _run(codes, lo, hi, bits, dtype)


def _check(q: Quantized, dtype: torch.dtype) -> None:
    if not isinstance(q, Quantized):
        raise TypeError(f"dequantize: q must be a Quantized, as quantize returns it, got {type(q).__name__}")
    integer("dequantize", "q.bits", q.bits, 1, MAX_BITS)
    for name, x in zip(q._fields[:3], q[:3], strict=True):
        if not isinstance(x, Tensor):
            raise TypeError(f"dequantize: q.{name} must be a torch.Tensor, got {type(x).__name__}")
    dense("dequantize", "q.codes", q.codes)
    if q.codes.dtype is not code_dtype(q.bits):
        expected, got = dtype_name(code_dtype(q.bits)), dtype_name(q.codes.dtype)
        raise TypeError(f"dequantize: q.codes must be {expected} for {q.bits} bits, got {got}")
    if q.lo.dtype is not q.hi.dtype or q.lo.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"dequantize: q.lo and q.hi must both be float32 or both float64, got {dtype_name(q.lo.dtype)} "
                        f"and {dtype_name(q.hi.dtype)}")  # fmt: skip
    if q.lo.dim() != 0 or q.hi.dim() != 0:
        raise ValueError(
            f"dequantize: q.lo and q.hi must be 0-d, got shapes {tuple(q.lo.shape)} and {tuple(q.hi.shape)}"
        )
    same_device("dequantize", "q.lo", q.lo, "q.codes", q.codes)
    same_device("dequantize", "q.hi", q.hi, "q.codes", q.codes)
    if dtype not in FLOATS:
        raise TypeError(f"dequantize: dtype must be float32, float64, float16 or bfloat16, got {dtype_name(dtype)}")


def _run(codes: Tensor, lo: Tensor, hi: Tensor, bits: int, dtype: torch.dtype) -> Tensor:
    out = torch.empty(codes.shape, dtype=dtype, device=codes.device)
    _C.dequantize(codes.contiguous(), out, torch.stack((lo.detach(), hi.detach())), bits)
    return out


def _fake(codes: Tensor, lo: Tensor, hi: Tensor, bits: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(codes.shape, dtype=dtype, device=codes.device)


register("dequantize", "(Tensor codes, Tensor lo, Tensor hi, int bits, ScalarType dtype) -> Tensor", _run, _fake)


def dequantize_ref(q: Quantized, dtype: torch.dtype = torch.float32) -> Tensor:
    """`dequantize` in plain PyTorch. Errors that depend on values are raised on every device."""
    _check(q, dtype)
    lo, hi = q.lo.detach(), q.hi.detach()
    if not bool(lo.isfinite() & hi.isfinite() & (lo <= hi)):
        raise ValueError(f"dequantize: q.lo and q.hi must be finite, lo <= hi, got {float(lo)} and {float(hi)}")
    return values_of(q.codes, grid("dequantize", lo, hi, q.bits), dtype)

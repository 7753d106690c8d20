"""Weights from the record of `compress_weights` (thesis ch. 3, Algorithm 2)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.errors import CorruptDataError
from effdl_fast.ops import _weights_record as record
from effdl_fast.ops._arguments import floating, integer, register, same_device, vector
from effdl_fast.ops._dispatch import DISPATCHER, KERNEL, REFERENCE, route
from effdl_fast.ops._weights import workspace
from effdl_fast.ops._weights_lanes import decode, huffman_code, rans_code
from effdl_fast.ops._weights_ref import grid, values_of
from effdl_fast.ops.unpack_bits import unpack_bits_ref


def decompress_weights(data: Tensor, *, out: Tensor | None = None, max_elements: int | None = None) -> Tensor:
    """The weights in a record of `compress_weights` (thesis ch. 3, Algorithm 2; docs/format.md).

    Args:
        data: uint8 (size,), exactly one record; or, for the CPU, any contiguous bytes-like object (bytes, memoryview,
            mmap).
        out: where to put them: contiguous, any shape with as many elements as the record has, float32, float64, float16
            or bfloat16, on data's device. Values are dequantized straight into it (see `dequantize` about rounding).
            Under torch.compile it is needed, as the record decides about shape and dtype.
        max_elements: refuse a record of more; to be set, unless `out` is given, where data is not trusted, as a
            constant record of 48 bytes may stand for a tensor of any size.

    Returns:
        out; without it (n,) of the dtype that was compressed. On CUDA the host waits for the status, and for the header
        if out is None or max_elements is given.

    Raises:
        CorruptDataError: data is no whole, unaltered record as far as that shows; out is then undefined. Nothing
            outside of data is read, and nothing is allocated before the header fits the number of bytes. Also: it has
            more than max_elements, or is a constant of more elements than there is memory for.
        TypeError, ValueError: wrong dtypes, shapes or devices.
    """
    way = route("decompress_weights", "data", data) if isinstance(data, Tensor) else KERNEL
    if way == REFERENCE:
        return decompress_weights_ref(data, out=out, max_elements=max_elements)
    _check(data, out, max_elements)
    if way == DISPATCHER:
        if out is None:
            return torch.ops.effdl_fast.decompress_weights(data, max_elements)
        torch.ops.effdl_fast.decompress_weights_out(data, out, max_elements)
        return out
    return _run(data, out, max_elements)


def _check(data: Any, out: Any, max_elements: Any) -> None:
    op = "decompress_weights"
    if max_elements is not None:
        integer(op, "max_elements", max_elements, 0, 2**63 - 1)
    if isinstance(data, Tensor):
        vector(op, "data", data, torch.uint8)
    if out is None:
        return
    if not isinstance(out, Tensor):
        raise TypeError(f"{op}: out must be a torch.Tensor, got {type(out).__name__}")
    floating(op, "out", out)
    if not out.is_contiguous():
        raise ValueError(f"{op}: out must be contiguous, got strides {out.stride()} for shape {tuple(out.shape)}")
    if out.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{op}: out requires grad: use torch.no_grad() or out.detach()")
    if isinstance(data, Tensor):
        same_device(op, "out", out, "data", data)
    elif out.device.type != "cpu":
        raise ValueError(f"{op}: out must be on the CPU for data that is no tensor, got {out.device}")


def _run(data: Any, out: Tensor | None, max_elements: int | None) -> Tensor:
    device = torch.device("cpu")
    if isinstance(data, Tensor):
        data, device = data.contiguous(), data.device
    if out is None or max_elements is not None:
        codec, dtype, n = _header(data, device)
        _limit(n, max_elements)
        if out is None:
            with _memory_for(codec, n):
                out = torch.empty(n, dtype=dtype, device=device)
    space = workspace("decompress_weights", out, len(data), out.numel())
    _C.decompress_weights(data, out, space)
    if space is not None and int(space[:4].view(torch.int32)):
        raise CorruptDataError("decompress_weights: the record is corrupt, or has another number of elements than out")
    torch.autograd.graph.increment_version(out)
    return out


def _header(data: Any, device: torch.device) -> tuple[int, torch.dtype, int]:
    if device.type == "cuda":
        header = record.read_header(data)
        return header.codec, header.dtype, header.n
    codec, dtype, _, n, *_ = _C.weights_header(data)
    return codec, record.DTYPES[dtype], n


def _limit(n: int, max_elements: int | None) -> None:
    if max_elements is not None and n > max_elements:
        raise CorruptDataError(f"decompress_weights: {n} elements are more than max_elements={max_elements}")


@contextmanager
def _memory_for(codec: int, n: int) -> Iterator[None]:
    """The elements of a constant take no bytes in its record, so any number may be said; others' are bounded."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if codec != record.CONSTANT:
            raise
        raise CorruptDataError(f"decompress_weights: no memory for a constant of {n} elements") from error


def _run_out(data: Tensor, out: Tensor, max_elements: int | None = None) -> None:
    _run(data, out, max_elements)


def _fake(data: Tensor, max_elements: int | None = None) -> Tensor:
    raise TypeError("decompress_weights: out is needed while tracing, as the record decides about shape and dtype")


register(
    "decompress_weights",
    "(Tensor data, int? max_elements=None) -> Tensor",
    lambda data, max_elements=None: _run(data, None, max_elements),
    _fake,
)
register(
    "decompress_weights_out",
    "(Tensor data, Tensor(a!) out, int? max_elements=None) -> ()",
    _run_out,
    lambda data, out, max_elements=None: None,
)


def decompress_weights_ref(data: Tensor, *, out: Tensor | None = None, max_elements: int | None = None) -> Tensor:
    """`decompress_weights` in plain PyTorch."""
    _check(data, out, max_elements)
    if not isinstance(data, Tensor):
        copy = bytearray(memoryview(data))
        data = torch.frombuffer(copy, dtype=torch.uint8) if copy else torch.empty(0, dtype=torch.uint8)
    r = record.read(data)
    _limit(r.n, max_elements)
    if out is not None and out.numel() != r.n:
        raise ValueError(f"decompress_weights: out must have {r.n} elements, got shape {tuple(out.shape)}")
    values = _values(r, r.dtype if out is None else out.dtype)
    return values if out is None else out.copy_(values.view(out.shape))


def _values(r: record.Record, dtype: torch.dtype) -> Tensor:
    if r.codec == record.RAW:
        return r.payload.clone().view(r.dtype).to(dtype)  # the payload itself may lie anywhere
    if r.codec == record.CONSTANT:
        with _memory_for(r.codec, r.n):
            return torch.full((r.n,), r.lo, dtype=r.dtype, device=r.payload.device).to(dtype)
    if r.codec == record.FIXED:
        codes = unpack_bits_ref(r.payload, r.bits, r.n)
    else:
        assert r.symbols is not None and r.sizes is not None
        code = huffman_code(r.symbols) if r.codec == record.HUFFMAN else rans_code(r.symbols)
        try:
            codes = decode(r.payload, r.sizes, r.n, code)
        except CorruptDataError as e:
            raise CorruptDataError(f"decompress_weights: {e}") from None
    wide = torch.float64 if r.dtype is torch.float64 else torch.float32
    lo, hi = (torch.tensor(end, dtype=wide, device=codes.device) for end in (r.lo, r.hi))
    return values_of(codes, grid("decompress_weights", lo, hi, r.bits), dtype)

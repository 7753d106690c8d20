"""Codes of a Huffman stream (thesis Algorithm 2, line 3)."""

import math

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.errors import CorruptDataError
from effdl_fast.ops._arguments import integer, register, same_device, vector
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._weights import alphabet, symbol_dtype, workspace
from effdl_fast.ops._weights_lanes import chunk_count, complete, decode, huffman_code
from effdl_fast.ops.huffman_encode import HuffmanStream


def huffman_decode(stream: HuffmanStream) -> Tensor:
    """The codes that `huffman_encode` encoded (thesis Algorithm 2, line 3).

    Args:
        stream: what `huffman_encode` returns; all tensors on one device, any strides.

    Returns:
        The codes in stream.shape: uint8 for up to 256 bins, else uint16. On CUDA the host waits once, for the status.

    Raises:
        CorruptDataError: lengths of no Huffman code, sizes that do not add up to the payload, or a chunk that does not
            end as it must. Nothing outside of the payload is ever read.
        TypeError, ValueError: wrong dtypes, shapes or devices.
    """
    _check(stream)
    way = route("huffman_decode", "stream.payload", stream.payload)
    if way == REFERENCE:
        return huffman_decode_ref(stream)
    if way == DISPATCHER:
        return torch.ops.effdl_fast.huffman_decode(*stream)
    return _run(*stream)


def _check(stream: HuffmanStream) -> None:
    if not isinstance(stream, HuffmanStream):
        kind = type(stream).__name__
        raise TypeError(f"huffman_decode: stream must be a HuffmanStream, as huffman_encode returns it, got {kind}")
    payload, sizes, lengths, shape = stream
    for name, x in zip(stream._fields[:3], stream[:3], strict=True):
        if not isinstance(x, Tensor):
            raise TypeError(f"huffman_decode: stream.{name} must be a torch.Tensor, got {type(x).__name__}")
    vector("huffman_decode", "stream.payload", payload, torch.uint8)
    vector("huffman_decode", "stream.sizes", sizes, torch.int32)
    alphabet("huffman_decode", "stream.lengths", lengths, torch.uint8)
    same_device("huffman_decode", "stream.sizes", sizes, "stream.payload", payload)
    same_device("huffman_decode", "stream.lengths", lengths, "stream.payload", payload)
    if not isinstance(shape, tuple):
        raise TypeError(f"huffman_decode: stream.shape must be a tuple, got {type(shape).__name__}")
    n = 1
    for size in shape:
        n *= integer("huffman_decode", "sizes in stream.shape", size, 0, 2**60)
    # Nothing of that size is allocated before this.
    if sizes.shape[0] != chunk_count(n):
        raise CorruptDataError(f"huffman_decode: stream.sizes must have {chunk_count(n)} elements for shape {shape}, "
                               f"got {sizes.shape[0]}")  # fmt: skip


def _run(payload: Tensor, sizes: Tensor, lengths: Tensor, shape: tuple[int, ...]) -> Tensor:
    codes = _fake(payload, sizes, lengths, shape)
    space = workspace("huffman_decode", payload, codes.numel(), lengths.shape[0])
    _C.huffman_decode(payload.contiguous(), sizes.contiguous(), lengths.contiguous(), codes, space)
    if space is not None and int(space[:4].view(torch.int32)):
        raise CorruptDataError("huffman_decode: the stream is corrupt")
    return codes


def _fake(payload: Tensor, sizes: Tensor, lengths: Tensor, shape: tuple[int, ...]) -> Tensor:
    return torch.empty(shape, dtype=symbol_dtype(lengths.shape[0]), device=payload.device)


register("huffman_decode", "(Tensor payload, Tensor sizes, Tensor lengths, SymInt[] shape) -> Tensor", _run, _fake)


def huffman_decode_ref(stream: HuffmanStream) -> Tensor:
    """`huffman_decode` in plain PyTorch."""
    _check(stream)
    payload, sizes, lengths, shape = stream
    n = math.prod(shape)
    try:
        if not complete(lengths) and (n or bool(lengths.any())):
            raise CorruptDataError("the lengths are of no Huffman code")
        codes = decode(payload, sizes, n, huffman_code(lengths))
    except CorruptDataError as e:
        raise CorruptDataError(f"huffman_decode: {e}") from None
    return codes.to(torch.int32).to(symbol_dtype(lengths.shape[0])).view(shape)

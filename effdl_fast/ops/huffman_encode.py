"""Huffman coding of codes (thesis Algorithm 1, line 9)."""

from typing import NamedTuple

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import dtype_name, register, same_device
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._weights import MAX_LENGTH, alphabet, cut, integer_codes, symbol_dtype, workspace
from effdl_fast.ops._weights_lanes import chunk_count, complete, encode, huffman_code


class HuffmanStream(NamedTuple):
    """Codes as `huffman_encode` writes them; every chunk of 32768 can be decoded by itself."""

    payload: Tensor  # uint8 (bytes,), the chunks
    sizes: Tensor  # int32 (chunks,), bytes of each chunk
    lengths: Tensor  # uint8 (bins,), of each symbol's code
    shape: tuple[int, ...]  # of the codes


def huffman_encode(codes: Tensor, lengths: Tensor) -> HuffmanStream:
    """The codes as canonical Huffman codes in 32 interleaved lanes (thesis Algorithm 1, line 9; docs/format.md).

    The same bytes on every device. On CUDA the host waits once, for the number of bytes.

    Args:
        codes: uint8 for up to 256 bins, else uint16; any shape and strides.
        lengths: uint8 (bins,), on the device of codes, as `huffman_lengths` gives them: 0 for symbols without a code,
            otherwise up to 16 with a Kraft sum of 1, or a single symbol with length 1. 1 to 65536 bins.

    Returns:
        HuffmanStream(payload, sizes, lengths, shape).

    Raises:
        ValueError: lengths of no Huffman code, or a code that has no length.
        TypeError, ValueError: wrong dtypes, shapes or devices.

    Under torch.compile(fullgraph=True) the size of the payload needs
    torch._dynamo.config.capture_dynamic_output_shape_ops.
    """
    way = route("huffman_encode", "codes", codes)
    if way == REFERENCE:
        return huffman_encode_ref(codes, lengths)
    _check(codes, lengths)
    if way == DISPATCHER:
        payload, sizes = torch.ops.effdl_fast.huffman_encode(codes, lengths)
    else:
        payload, sizes = _run(codes, lengths)
    return HuffmanStream(payload, sizes, lengths, tuple(codes.shape))


def _check(codes: Tensor, lengths: Tensor) -> None:
    integer_codes("huffman_encode", codes)
    if not isinstance(lengths, Tensor):
        raise TypeError(f"huffman_encode: lengths must be a torch.Tensor, got {type(lengths).__name__}")
    alphabet("huffman_encode", "lengths", lengths, torch.uint8)
    same_device("huffman_encode", "lengths", lengths, "codes", codes)
    expected = symbol_dtype(lengths.shape[0])
    if codes.dtype is not expected:
        raise TypeError(f"huffman_encode: codes must be {dtype_name(expected)} for {lengths.shape[0]} bins, got "
                        f"{dtype_name(codes.dtype)}")  # fmt: skip


def _run(codes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    codes, lengths = codes.contiguous(), lengths.contiguous()
    n, bins = codes.numel(), lengths.shape[0]
    payload = torch.empty(_C.huffman_bound(n, MAX_LENGTH), dtype=torch.uint8, device=codes.device)
    sizes = torch.empty(chunk_count(n), dtype=torch.int32, device=codes.device)
    written = _C.huffman_encode(codes, lengths, payload, sizes, workspace("huffman_encode", codes, n, bins))
    if codes.is_cuda:
        written = int(sizes.sum())
        if written < 0:
            raise ValueError("huffman_encode: lengths are of no Huffman code, or codes has an element without a code")
    return cut(payload, written), sizes


def _fake(codes: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    written = torch.library.get_ctx().new_dynamic_size()
    payload = torch.empty(written, dtype=torch.uint8, device=codes.device)
    return payload, torch.empty((codes.numel() + 32767) // 32768, dtype=torch.int32, device=codes.device)


register("huffman_encode", "(Tensor codes, Tensor lengths) -> (Tensor payload, Tensor sizes)", _run, _fake)


def huffman_encode_ref(codes: Tensor, lengths: Tensor) -> HuffmanStream:
    """`huffman_encode` in plain PyTorch."""
    _check(codes, lengths)
    flat = codes.reshape(-1).to(torch.int32)
    if not complete(lengths) and (flat.numel() or bool(lengths.any())):
        raise ValueError("huffman_encode: lengths are of no Huffman code")
    unknown = flat >= lengths.shape[0]
    if bool((unknown | (lengths[torch.where(unknown, 0, flat)] == 0)).any()):
        raise ValueError("huffman_encode: codes has an element without a code in lengths")
    payload, sizes = encode(flat, huffman_code(lengths))
    return HuffmanStream(payload, sizes, lengths, tuple(codes.shape))

"""Codes without the bits that they do not need."""

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import integer, register
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._weights import MAX_BITS, integer_codes


def pack_bits(codes: Tensor, bits: int) -> Tensor:
    """The codes with `bits` bits each, one after another, least significant bit first.

    Args:
        codes: uint8 or uint16, below 2^bits, any shape and strides.
        bits: 1 to 16, at most 8 for uint8.

    Returns:
        uint8 (ceil(n * bits / 8),), n being the number of codes; unused bits of the last byte are 0.

    Raises:
        ValueError: a code that does not fit. On CUDA values are not looked at, and its higher bits are dropped.
        TypeError, ValueError: wrong dtypes or bits.
    """
    way = route("pack_bits", "codes", codes)
    if way == REFERENCE:
        return pack_bits_ref(codes, bits)
    bits = _check(codes, bits)
    if way == DISPATCHER:
        return torch.ops.effdl_fast.pack_bits(codes, bits)
    return _run(codes, bits)


def _check(codes: Tensor, bits: int) -> int:
    integer_codes("pack_bits", codes)
    return integer("pack_bits", "bits", bits, 1, 8 if codes.dtype is torch.uint8 else MAX_BITS)


def _run(codes: Tensor, bits: int) -> Tensor:
    packed = _fake(codes, bits)
    _C.pack_bits(codes.contiguous(), packed, bits)
    return packed


def _fake(codes: Tensor, bits: int) -> Tensor:
    return torch.empty((codes.numel() * bits + 7) // 8, dtype=torch.uint8, device=codes.device)


register("pack_bits", "(Tensor codes, int bits) -> Tensor", _run, _fake)


def pack_bits_ref(codes: Tensor, bits: int) -> Tensor:
    """`pack_bits` in plain PyTorch. A code that does not fit is an error on every device."""
    bits = _check(codes, bits)
    flat = codes.reshape(-1).to(torch.int32)
    if flat.numel() and (largest := int(flat.max())) >> bits:
        raise ValueError(f"pack_bits: codes must be below 2^bits = {1 << bits}, got {largest}")
    one_by_one = (flat[:, None] >> torch.arange(bits, dtype=torch.int32, device=flat.device)) & 1
    one_by_one = one_by_one.to(torch.uint8).reshape(-1)
    eights = torch.nn.functional.pad(one_by_one, (0, -one_by_one.shape[0] % 8)).view(-1, 8)
    return (eights << torch.arange(8, dtype=torch.uint8, device=flat.device)).sum(1, dtype=torch.uint8)

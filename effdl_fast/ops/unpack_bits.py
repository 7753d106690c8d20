"""The reverse of `pack_bits`."""

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import integer, register, vector
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._weights import MAX_BITS, code_dtype


def unpack_bits(packed: Tensor, bits: int, n: int) -> Tensor:
    """The n codes that `pack_bits` packed with `bits` bits each.

    Args:
        packed: uint8 (ceil(n * bits / 8),), any strides. Unused bits of the last byte are not looked at.
        bits: 1 to 16.
        n: number of codes.

    Returns:
        (n,), uint8 for up to 8 bits, else uint16.

    Raises:
        TypeError, ValueError: wrong dtypes, shapes or bits; too few or too many bytes for n codes.
    """
    way = route("unpack_bits", "packed", packed)
    if way == REFERENCE:
        return unpack_bits_ref(packed, bits, n)
    bits, n = _check(packed, bits, n)
    if way == DISPATCHER:
        return torch.ops.effdl_fast.unpack_bits(packed, bits, n)
    return _run(packed, bits, n)


def _check(packed: Tensor, bits: int, n: int) -> tuple[int, int]:
    vector("unpack_bits", "packed", packed, torch.uint8)
    bits = integer("unpack_bits", "bits", bits, 1, MAX_BITS)
    n = integer("unpack_bits", "n", n, 0, 2**56)
    if packed.shape[0] != (n * bits + 7) // 8:
        raise ValueError(f"unpack_bits: packed must have {(n * bits + 7) // 8} bytes for {n} codes of {bits} bits, got "
                         f"{packed.shape[0]}")  # fmt: skip
    return bits, n


def _run(packed: Tensor, bits: int, n: int) -> Tensor:
    codes = _fake(packed, bits, n)
    _C.unpack_bits(packed.contiguous(), codes, bits)
    return codes


def _fake(packed: Tensor, bits: int, n: int) -> Tensor:
    return torch.empty(n, dtype=code_dtype(bits), device=packed.device)


register("unpack_bits", "(Tensor packed, int bits, SymInt n) -> Tensor", _run, _fake)


def unpack_bits_ref(packed: Tensor, bits: int, n: int) -> Tensor:
    """`unpack_bits` in plain PyTorch."""
    bits, n = _check(packed, bits, n)
    one_by_one = (packed[:, None] >> torch.arange(8, dtype=torch.uint8, device=packed.device)) & 1
    one_by_one = one_by_one.reshape(-1)[: n * bits].view(n, bits).to(torch.int32)
    weights = torch.arange(bits, dtype=torch.int32, device=packed.device)
    return (one_by_one << weights).sum(1, dtype=torch.int32).to(code_dtype(bits))

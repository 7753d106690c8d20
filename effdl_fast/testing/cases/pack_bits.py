"""Cases of pack_bits: 5 bits, and every other number."""

from torch import Tensor

from effdl_fast.ops import pack_bits_ref
from effdl_fast.testing.cases import Call
from effdl_fast.testing.cases._weights import Spec, code_cases


def least_bits(codes: Tensor) -> int:
    return max(1, int(codes.reshape(-1).int().max()).bit_length()) if codes.numel() else 1


def packed(spec: Spec, codes: Tensor) -> Call:
    """What unpack_bits gets."""
    bits = least_bits(codes)
    return Call((pack_bits_ref(codes, bits), bits, codes.numel()), {}, ())


def _make(spec: Spec, codes: Tensor) -> Call:
    return Call((codes, least_bits(codes)), {}, ())


OTHERS = tuple(range(1, 17))
CASES = code_cases(_make, bits=5, others=OTHERS)

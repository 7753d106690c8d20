"""Cases of huffman_encode: codes with the lengths that huffman_lengths gives them."""

from torch import Tensor

from effdl_fast.testing.cases import Call
from effdl_fast.testing.cases._weights import Spec, code_cases, lengths_for


def _make(spec: Spec, codes: Tensor) -> Call:
    bins = 256 if codes.element_size() == 1 else max(257, 1 << int(codes.int().max()).bit_length())
    return Call((codes, lengths_for(codes.cpu(), bins)), {}, ())


CASES = code_cases(_make, others=(1, 4, 10, 12))

"""Cases of unpack_bits: what pack_bits gives for its own cases."""

from effdl_fast.testing.cases._weights import code_cases
from effdl_fast.testing.cases.pack_bits import OTHERS, packed

CASES = code_cases(packed, bits=5, others=OTHERS)

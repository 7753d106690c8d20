"""Cases of histogram."""

from torch import Tensor

from effdl_fast.testing.cases import Call
from effdl_fast.testing.cases._weights import Spec, code_cases


def _make(spec: Spec, codes: Tensor) -> Call:
    return Call((codes, 256 if codes.element_size() == 1 else 65536), {}, ())


CASES = code_cases(_make, others=(1, 4, 10, 16))

"""Cases of redundancy_depth."""

import torch
from torch import Tensor

from effdl_fast.testing.cases import Call
from effdl_fast.testing.cases._neighbours import Spec, neighbour_cases


def _make(spec: Spec, features: Tensor, labels: Tensor) -> Call:
    return Call((features, labels), spec.options, ())


ONE = {"dtypes": (torch.float32,)}
CASES = neighbour_cases(
    _make,
    Spec("one_class", classes=1, flags=ONE),
    *(
        Spec(f"labels_{dtype}", labels=dtype, flags=ONE)
        for dtype in (torch.int32, torch.int16, torch.int8, torch.uint8)
    ),
)

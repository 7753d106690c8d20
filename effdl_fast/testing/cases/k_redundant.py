"""Cases of k_redundant."""

import torch
from torch import Tensor

from effdl_fast.testing.cases import Call
from effdl_fast.testing.cases._neighbours import Spec, neighbour_cases


def _make(spec: Spec, features: Tensor, labels: Tensor) -> Call:
    return Call((features, labels, 1 + spec.d % 4), spec.options, ())


CASES = neighbour_cases(_make, Spec("one_class", classes=1, flags={"dtypes": (torch.float32,)}))

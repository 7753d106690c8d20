"""Cases of mlp_forward."""

from torch import Tensor

from effdl_fast.testing.cases import Call
from effdl_fast.testing.cases._mlp import Spec, mlp_cases


def _make(spec: Spec, x: Tensor, weights: list[Tensor], y: Tensor | None) -> Call:
    return Call((x, weights, spec.activation), {}, ())


CASES = mlp_cases(_make)

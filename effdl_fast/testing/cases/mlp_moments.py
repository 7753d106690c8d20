"""Cases of mlp_moments: those of mlp_forward, with targets, and with products in float64."""

import torch
from torch import Tensor

from effdl_fast.testing.cases import Call
from effdl_fast.testing.cases._mlp import LAYOUTS, SPECS, Spec, mlp_cases

PRECISE = {"precise": True}


def _make(spec: Spec, x: Tensor, weights: list[Tensor], y: Tensor | None) -> Call:
    return Call((x, weights, y, spec.activation), spec.options, ())


TWICE = (
    "no_layers",
    "many_rows",
    "width_1",
    "width_47",
    "width_48",
    "width_97",
    "rows_129",
    "celu_two_layers",
    "nan_relu",
)
CASES = mlp_cases(
    _make,
    *[Spec(f"targets_{c}", 40, 5, (40,), c=c) for c in (None, 0, 1, 6, 7, 8, 9, 55, 100)],
    *[Spec(f"y_{layout}", 75, 5, (47,), y_layout=layout) for layout in LAYOUTS],
    *[Spec(f"y_{str(t)[6:]}", y_dtype=t) for t in (torch.float32, torch.float64, torch.float16, torch.bfloat16)],
    *[Spec(f"{s.name}_precise", s.m, s.d, s.widths, s.activation, x=s.x, options=PRECISE, flags=s.flags)
      for s in SPECS if s.name in TWICE or s.name.startswith("threads")],
    Spec("y_float64_precise", y_dtype=torch.float64, options=PRECISE),
)  # fmt: skip

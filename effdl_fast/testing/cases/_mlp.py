"""Inputs of mlp_forward and mlp_moments: sizes around tiles, panels and blocks, every activation, layouts."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from effdl_fast.ops._activations import ACTIVATIONS
from effdl_fast.testing.cases import Call, Case

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "by_columns": lambda x: x.t().contiguous().t(),
    "every_other": lambda x: torch.stack((x, torch.full_like(x, torch.nan)), -1)[..., 0],
    "every_other_row": lambda x: torch.stack((x, torch.full_like(x, torch.nan)), 1)[:, 0],
    "unaligned": lambda x: torch.cat([x.reshape(-1)[:1], x.reshape(-1)])[1:].view(x.shape),
    "expanded": lambda x: x[:1].expand(x.shape),
}


@dataclass(frozen=True)
class Spec:
    name: str
    m: int = 70
    d: int = 11
    widths: tuple[int, ...] = (13,)
    activation: str = "relu"
    layout: str = "contiguous"  # of x
    weights_layout: str = "contiguous"
    x: float | None = None  # in one row
    c: int | None = 2  # targets; None: no y
    y_layout: str = "contiguous"
    y_dtype: torch.dtype | None = None  # None: x's
    options: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)  # of Case

    def inputs(self, device: torch.device, dtype: torch.dtype, g: torch.Generator) -> tuple[Tensor, list[Tensor]]:
        real = torch.float64 if dtype is torch.float64 else torch.float32
        x = torch.randn(self.m, self.d, generator=g).to(dtype).to(device)
        if self.x is not None:
            x[self.m // 2, self.d // 2] = self.x
        weights, width = [], self.d
        for w in self.widths:
            w_i = torch.randn(width + 1, w, generator=g).div_((width + 1) ** 0.5).to(real).to(device)
            weights.append(LAYOUTS[self.weights_layout](w_i))
            width = w
        return LAYOUTS[self.layout](x), weights

    def targets(self, device: torch.device, dtype: torch.dtype, g: torch.Generator) -> Tensor | None:
        if self.c is None:
            return None
        y = torch.randn(self.m, self.c, generator=g).to(self.y_dtype or dtype).to(device)
        return LAYOUTS[self.y_layout](y)


SPECS = [
    *[Spec(f"{a}_two_layers", 150, 60, (50, 9), a) for a in ACTIVATIONS],
    *[Spec(f"rows_{m}", m) for m in (0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257)],
    *[Spec(f"inputs_{d}", 20, d) for d in (0, 1, 2, 47, 48, 49, 95, 96, 97, 287, 288, 289, 337)],
    *[Spec(f"width_{w}", 20, 5, (w,)) for w in (1, 2, 7, 8, 9, 15, 16, 17, 23, 24, 25, 31, 33, 46, 47, 48, 49, 96, 97)],
    Spec("many_rows", 2600, 3, (5,), "leaky_relu"),
    Spec("wide", 30, 300, (410, 290), "celu"),
    Spec("five_layers", 90, 20, (30, 1, 49, 17, 3), "tanh"),
    Spec("no_layers", 90, 53, ()),
    *[Spec(f"x_{layout}", 75, 53, (50,), "celu", layout) for layout in LAYOUTS],
    *[Spec(f"no_layers_{layout}", 75, 53, (), layout=layout) for layout in LAYOUTS],
    *[Spec(f"weights_{layout}", 75, 53, (50, 4), weights_layout=layout) for layout in LAYOUTS],
    *[Spec(f"nan_{a}", 75, 53, (50,), a, x=torch.nan) for a in ACTIVATIONS],
    *[Spec(f"inf_{a}", 75, 53, (50,), a, x=torch.inf) for a in ACTIVATIONS],
    Spec("threads", 5000, 50, (60, 49), "sigmoid", flags={"test": False}),  # has a test of its own
    Spec("threads_wide", 300, 40, (300,), flags={"test": False}),
]


def term_sizes(x: Tensor, weights: list[Tensor], activation: str) -> Tensor:
    """How large the terms are whose roundings are in the last z: float64."""
    size = x.double().abs()
    for w in weights:
        size = torch.addmm(w[0].double().abs(), size, w[1:].double().abs())
        if activation == "sigmoid":  # of size 1 whatever its argument
            size = size + 1
    return size


def mlp_cases(make: Callable[[Spec, Tensor, list[Tensor], Tensor | None], Call], *more: Spec) -> list[Case]:
    """make(spec, x, weights, y) -> call."""

    def case(spec: Spec) -> Case:
        def call(device: torch.device, dtype: torch.dtype, g: torch.Generator) -> Call:
            x, weights = spec.inputs(device, dtype, g)
            return make(spec, x, weights, spec.targets(device, dtype, g))

        return Case(spec.name, call, **spec.flags)

    return [case(spec) for spec in (*SPECS, *more)]

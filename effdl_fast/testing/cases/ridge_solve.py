"""Cases of ridge_solve: moments of data of which some columns depend on others, all sizes, ridges and projections."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from effdl_fast.testing.cases import Call, Case

Generator = torch.Generator


def _gaussian(b: int, m: int, n: int, g: Generator) -> Tensor:
    z = torch.randn(b, m, n, generator=g, dtype=torch.float64)
    z[..., 0] = 1.0
    return z


def _repeated(b: int, m: int, n: int, g: Generator) -> Tensor:
    """A column twice, another constant, a third the sum of two."""
    z = _gaussian(b, m, n, g)
    z[..., 3], z[..., 4], z[..., 5] = z[..., 1], 3.0, z[..., 1] - 2 * z[..., 2]
    return z


def _zero_columns(b: int, m: int, n: int, g: Generator) -> Tensor:
    z = _gaussian(b, m, n, g)
    z[..., 2] = 0.0
    z[..., n - 1] = 0.0
    return z


def _sizes(b: int, m: int, n: int, g: Generator) -> Tensor:
    """Columns whose sizes differ by 20 orders of magnitude."""
    z = _gaussian(b, m, n, g)
    z[..., 1:] *= torch.logspace(-10, 10, n - 1, dtype=torch.float64)
    return z


KINDS: dict[str, Callable[[int, int, int, Generator], Tensor]] = {
    "gaussian": _gaussian,
    "repeated": _repeated,
    "zero_columns": _zero_columns,
    "sizes": _sizes,
    "zeros": lambda b, m, n, g: torch.zeros(b, m, n, dtype=torch.float64),
}


@dataclass(frozen=True)
class Spec:
    name: str
    kind: str = "gaussian"
    n: int = 13
    c: int = 1
    b: int | None = None  # None: moments of two dimensions
    m: int = 200
    l2: float = 0.0
    tries: int | None = None  # of a projection; 0 for one of two dimensions
    width: int = 12
    options: dict[str, Any] = field(default_factory=dict)


def _case(spec: Spec) -> Case:
    def make(device: torch.device, dtype: torch.dtype, g: torch.Generator) -> Call:
        b = 1 if spec.b is None else spec.b
        z = KINDS[spec.kind](b, spec.m, spec.n, g)
        y = torch.randn(b, spec.m, spec.c, generator=g, dtype=torch.float64)
        both = torch.cat([z, y], 2)
        moments = (both.mT @ both).to(device)
        projection = None
        if spec.tries is not None:
            shape = (spec.tries,) if spec.tries else ()
            projection = torch.randn(*shape, spec.n + spec.c, spec.width, generator=g, dtype=torch.float64).to(device)
        moments = moments[0] if spec.b is None else moments
        return Call((moments, spec.c, spec.l2, projection), spec.options, ())

    return Case(spec.name, make, dtypes=(torch.float64,))


FREE = {"free_bias": True}
TARGETS = {"alpha": 0.1, "beta": 10.0}
SPECS = [
    *[Spec(f"columns_{n}", n=n) for n in (1, 2, 3, 13, 17, 64, 65)],
    *[Spec(f"targets_{c}", c=c) for c in (2, 3, 10, 64)],
    *[Spec(f"batch_{b}", b=b) for b in (0, 1, 2, 50)],
    *[Spec(f"ridge_{l2}", l2=l2) for l2 in (1e-6, 0.5, 1e3, 1e12)],
    *[Spec(f"free_bias_{l2}", l2=l2, options=FREE) for l2 in (0.0, 0.5, 1e3)],
    *[Spec(f"{kind}_{l2}", kind, l2=l2, b=2) for kind in KINDS for l2 in (0.0, 2.0) if kind != "gaussian"],
    *[Spec(f"{kind}_projected", kind, tries=3) for kind in KINDS],
    *[Spec(f"few_rows_{m}", m=m, c=3) for m in (1, 2, 12)],
    *[Spec(f"tries_{t}", tries=t, options=TARGETS) for t in (0, 1, 2, 50)],
    *[Spec(f"tries_{t}_ridge", tries=t, l2=0.7, options=TARGETS) for t in (0, 50)],
    Spec("tries_free_bias", tries=2, l2=30.0, options={**TARGETS, **FREE}),
    Spec("wide_projection", tries=2, width=300, l2=1.0),
    Spec("no_width", tries=2, width=0),
    Spec("largest", n=65, c=64, b=9, l2=0.1),
    Spec("largest_projected", n=65, c=64, tries=5, width=64, l2=0.1),
]
CASES = [_case(spec) for spec in SPECS]

"""Points and labels for the ops on neighbours: classes that overlap or not, ties, and what bounds cannot tell apart."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from effdl_fast.testing.cases import Call, Case

Generator = torch.Generator


def _gaussian(n: int, d: int, y: Tensor, g: Generator) -> Tensor:
    return torch.randn(n, d, generator=g)


def _clusters(n: int, d: int, y: Tensor, g: Generator) -> Tensor:
    centres = torch.randn(int(y.max()) + 1 if n else 1, d, generator=g)
    return torch.randn(n, d, generator=g) + 1.2 * centres[y]


def _far_apart(n: int, d: int, y: Tensor, g: Generator) -> Tensor:
    """Two clouds of 1e-3 at a distance of 100: float32 products say nothing about neighbours."""
    return 1e-3 * torch.randn(n, d, generator=g) + 100 * torch.randint(2, (n, 1), generator=g)


def _ties(n: int, d: int, y: Tensor, g: Generator) -> Tensor:
    return torch.randint(3, (n, d), generator=g).float()


def _duplicates(n: int, d: int, y: Tensor, g: Generator) -> Tensor:
    return torch.randn(max(1, n // 7), d, generator=g)[torch.randint(max(1, n // 7), (n,), generator=g)]


def _sizes(n: int, d: int, y: Tensor, g: Generator) -> Tensor:
    """Features whose sizes differ by eight orders of magnitude, and an outlier."""
    x = torch.randn(n, d, generator=g) * torch.logspace(-6, 2, d)
    x[n // 2 : n // 2 + 1] *= 50
    return x


KINDS: dict[str, Callable[[int, int, Tensor, Generator], Tensor]] = {
    "gaussian": _gaussian,
    "clusters": _clusters,
    "far_apart": _far_apart,
    "ties": _ties,
    "duplicates": _duplicates,
    "sizes": _sizes,
    "relu": lambda n, d, y, g: torch.randn(n, d, generator=g).relu() + 3,
    "zeros": lambda n, d, y, g: torch.zeros(n, d),
    "huge": lambda n, d, y, g: torch.randn(n, d, generator=g) * 1e4,
    "bits": lambda n, d, y, g: torch.randint(2, (n, d), generator=g).float(),
    "black_and_white": lambda n, d, y, g: 255.0 * torch.randint(2, (n, d), generator=g),
    "pixels": lambda n, d, y, g: torch.randint(256, (n, d), generator=g).float(),
}

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.t().contiguous().t(),
    "every_other": lambda x: torch.stack((x, torch.zeros_like(x)), -1)[..., 0],
    "unaligned": lambda x: torch.cat([x[:1], x])[1:],
}


@dataclass(frozen=True)
class Spec:
    """`n` points of `d` features in `classes` classes."""

    name: str
    kind: str = "gaussian"
    n: int = 211
    d: int = 19
    classes: int = 3
    layout: str = "contiguous"
    labels: torch.dtype = torch.int64
    dtype: torch.dtype | None = None  # instead of the backend's
    options: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)  # of Case

    def points(self, device: torch.device, dtype: torch.dtype, generator: Generator) -> tuple[Tensor, Tensor]:
        y = torch.randint(self.classes, (self.n,), generator=generator)
        x = KINDS[self.kind](self.n, self.d, y, generator).to(self.dtype or dtype).to(device)
        return LAYOUTS[self.layout](x), y.to(self.labels).to(device)


# Around the sizes of tiles (8 rows, 48 columns, 192 points, 768 points); d beyond what is multiplied in one go.
SIZES = [
    (1, 5),
    (2, 1),
    (7, 3),
    (8, 2),
    (47, 4),
    (49, 33),
    (191, 8),
    (193, 16),
    (769, 7),
    (100, 0),
    (60, 1),
    (70, 2500),
]


def specs(**options: Any) -> list[Spec]:
    one = {"dtypes": (torch.float32,)}
    by_size = [Spec(f"gaussian_{n}x{d}", n=n, d=d, options=options) for n, d in SIZES]
    by_kind = [Spec(kind, kind, options=options) for kind in KINDS if kind not in ("gaussian", "black_and_white")]
    by_layout = [Spec(layout, layout=layout, options=options, flags=one) for layout in LAYOUTS]
    return [
        *by_size,
        *by_kind,
        *by_layout,
        Spec("gaussian_1000", n=300, options=options),
        Spec("empty", n=0, options=options),
        Spec("two_classes", "clusters", classes=2, n=400, d=40, options=options),
        Spec("many_classes", "clusters", classes=100, n=500, d=24, options=options),
        Spec("classes_of_one", classes=100_000, n=150, options=options, flags=one),
        Spec("uint8", "pixels", dtype=torch.uint8, n=300, d=50, options=options, flags=one),
        Spec("uint8_ties", "ties", dtype=torch.uint8, n=300, d=5, options=options, flags=one),
        Spec("uint8_extremes", "black_and_white", dtype=torch.uint8, n=90, d=2100, options=options, flags=one),
        Spec("uint8_bits", "bits", dtype=torch.uint8, n=300, d=30, options=options, flags=one),
        Spec("threads", "clusters", n=2500, d=40, classes=10, options=options, flags={"test": False}),
    ]


# Where different vectors have mathematically equal cosines, float64 rounds them one way or the other.
UNEQUAL_COSINES = ("ties", "pixels", "bits", "black_and_white")


def neighbour_cases(make: Callable[[Spec, Tensor, Tensor], Call], *more: Spec) -> list[Case]:
    """make(spec, features, labels) -> call, for l2 with every spec, for other metrics with those that have no ties."""

    def case(spec: Spec) -> Case:
        def call(device: torch.device, dtype: torch.dtype, generator: Generator) -> Call:
            return make(spec, *spec.points(device, dtype, generator))

        return Case(spec.name, call, **spec.flags)

    found = [*specs(), *more]
    for metric in ("cosine", "inner_product"):
        for spec in specs(metric=metric):
            if spec.name in ("threads", "gaussian_1000") or spec.kind in UNEQUAL_COSINES or spec.kind == "far_apart":
                continue
            found.append(Spec(**{**spec.__dict__, "name": f"{spec.name}_{metric}"}))
    return [case(s) for s in found]

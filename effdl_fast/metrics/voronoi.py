"""Pure Voronoi maps and pure entropy (thesis 5.3.4, Definitions 5 to 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from effdl_fast.metrics._inputs import classes, entropy_bits, samples
from effdl_fast.metrics._purity import assign, contradiction, impure
from effdl_fast.metrics.filtering import Generator


@dataclass(frozen=True, eq=False)
class PureVoronoi:
    """A pure Voronoi map V(X; Y): every sample's nearest centroid has its label, and no other label's is as near.

    No cell is empty.
    """

    centroids: Tensor  # (c, d) float64 for float64 samples, else float32
    labels: Tensor  # (c,) of the dtype of y, ascending
    assignment: Tensor  # int64 (n,): the cell of each sample; of several nearest centroids of its label the first

    def __len__(self) -> int:
        """|C|"""
        return len(self.centroids)

    @property
    def sizes(self) -> Tensor:
        """int64 (c,): the number of samples in each cell."""
        return torch.bincount(self.assignment, minlength=len(self))

    @property
    def entropy(self) -> Tensor:
        """The pure entropy H(V) in bits (Definition 7), float64 0-d: that of the shares of samples in the cells."""
        return entropy_bits(self.sizes)

    def predict(self, x: Any) -> Tensor:
        """The labels of the nearest centroids, (n,)."""
        x = samples("PureVoronoi.predict", "x", x)
        if x.shape[1] != self.centroids.shape[1]:
            raise ValueError(f"PureVoronoi.predict: x must have {self.centroids.shape[1]} features, got {x.shape[1]}")
        return self.labels[assign(x, self.centroids)]


def pure_voronoi(x: Any, y: Any, *, seed: int = 0) -> PureVoronoi:
    return condensed_nearest_neighbour(x, y, generator=seed)


def pure_entropy(x: Any, y: Any, *, seed: int = 0) -> Tensor:
    """The pure entropy H*(X; Y) in bits (Definition 7): `pure_voronoi(x, y, ...).entropy`, float64 0-d."""
    return pure_voronoi(x, y, seed=seed).entropy


def condensed_nearest_neighbour(x: Any, y: Any, *, generator: Generator = None) -> PureVoronoi:
    """The condensed nearest neighbour rule (Hart 1968), a greedy pure Voronoi map whose centroids are samples.

    Goes through the samples again and again, and makes each one a centroid whose nearest centroid has another label (or
    ties with one), until none is left. A baseline: `pure_voronoi` finds far fewer cells.

    Args:
        x, y: as `pure_voronoi`.
        generator: of a random order of the samples: a CPU generator, or the seed of one; None: the order as given.

    Returns, errors: as `pure_voronoi`.
    """
    op = "condensed_nearest_neighbour"
    x, found, owner = _checked(op, x, y)
    n = len(x)
    order = torch.arange(n) if generator is None else _permutation(n, generator)
    points, index = _work(x)[order.to(x.device)], owner[order.to(x.device)]
    lengths = points.square().sum(dim=1)
    own = torch.full((n,), torch.inf, dtype=points.dtype, device=x.device)  # squared distance to the store, less |x|^2
    other = own.clone()
    kept: list[int] = []
    place: int | None = 0
    store = torch.zeros(n, dtype=torch.bool, device=x.device)
    while place is not None:
        kept.append(place)
        store[place] = True
        score = lengths[place] - 2 * (points @ points[place])
        same = index == index[place]
        own = torch.where(same, torch.minimum(own, score), own)
        other = torch.where(same, other, torch.minimum(other, score))
        wrong = (own >= other) & ~store
        later = wrong[place + 1 :].nonzero()
        place = place + 1 + int(later[0]) if len(later) else int(wrong.nonzero()[0]) if bool(wrong.any()) else None
    chosen = order.to(x.device)[torch.tensor(kept, device=x.device)]
    while bool((wrong := impure(x, owner, _stored(x)[chosen], owner[chosen])).any()):  # what rounding hid
        wrong[chosen] = False
        chosen = torch.cat([chosen, wrong.nonzero()[:1, 0]])
    return _finished(x, found, _stored(x)[chosen], owner[chosen])


def _checked(op: str, x: Any, y: Any) -> tuple[Tensor, Tensor, Tensor]:
    x = samples(op, "x", x)
    found, owner = classes(op, y, x)
    if (pair := contradiction(x, owner)) is not None:
        first, second = pair
        raise ValueError(
            f"{op}: rows {first} and {second} of x are equal, but their labels are {found[owner[first]].item()} and "
            f"{found[owner[second]].item()}: no map of them is pure"
        )
    return x, found, owner


def _stored(x: Tensor) -> Tensor:
    """In the dtype of centroids."""
    return x if x.dtype is torch.float64 else x.float()


def _work(x: Tensor) -> Tensor:
    """Centred; in float64 where that is cheap."""
    small = x.dtype is torch.float64 or x.numel() <= 1 << 24
    centre = _stored(x).double().mean(dim=0) if small else x.float().mean(dim=0)
    return x.to(centre.dtype) - centre


def _permutation(n: int, generator: Generator) -> Tensor:
    if isinstance(generator, int):
        generator = torch.Generator().manual_seed(generator)
    return torch.randperm(n, generator=generator)


def _finished(x: Tensor, found: Tensor, centroids: Tensor, labels: Tensor) -> PureVoronoi:
    """Sorted by label, without empty cells."""
    order = labels.argsort(stable=True)
    centroids, labels = centroids[order], labels[order]
    cells = assign(x, centroids)
    used, cells = torch.unique(cells, return_inverse=True)
    return PureVoronoi(centroids[used].clone(), found[labels[used]], cells)

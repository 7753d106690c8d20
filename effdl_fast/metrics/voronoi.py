"""Pure Voronoi maps and pure entropy (thesis 5.3.4, Definitions 5 to 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from effdl_fast.metrics._inputs import classes, entropy_bits, samples, seeded
from effdl_fast.metrics._prototypes import Search
from effdl_fast.metrics._purity import assign, contradiction, impure
from effdl_fast.metrics.filtering import Generator
from effdl_fast.ops._arguments import integer, number

LARGEST = 1e150
LARGE = 1e30  # of float32


class NoPureMapError(ValueError):
    """No map of these samples is pure in float64 distances."""


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


def pure_voronoi(x: Any, y: Any, *, effort: float = 2.0, restarts: int = 1, seed: int = 0) -> PureVoronoi:
    """A pure Voronoi map of labelled samples with few cells (Definition 6): its centroids may be any points.

    Every sample lies strictly nearer to a centroid of its own label than to any centroid of another, in float64
    distances: proven for the result, whatever the search has done. Between centroids of one label ties are allowed.
    The fewest cells possible are beyond reach (the problem is NP-hard), so |C| and the pure entropy are upper bounds of
    those of V*(D). On dense data with small gaps between the classes the bound is well above the optimum: of 20,000
    Gaussian points in the plane split by x_0 > 0, where 2 cells are enough, it has found 243 and 194. As the gaps
    shrink with n, values for different n are not comparable. On the thesis's toy problems there are 2 to 11 times fewer
    cells than by `condensed_nearest_neighbour`, and a 4 x 4 checkerboard gets one for each square; docs/metrics.md has
    figures.

    How: centroids start at the means of the classes, are moved by gradient descent on the distances of the samples that
    are wrong or nearly so, and new ones are put among the wrong samples until there are none (if that stalls, wrong
    samples become centroids themselves, which ends in any case). Then cells are taken away while purity can be
    restored by moving the others. If more than a quarter of the samples are centroids then, as with labels at random,
    Hart's map competes too. Memory: one float32 copy of x (float64 for float64), and blocks of distances.
    60,000 x 784 samples take tens of minutes.

    Args:
        x: (n, d), or (n, ...) which is flattened: float32, float64, float16, bfloat16 or uint8.
        y: (n,) class labels of any integer dtype or bool.
        effort: taking cells away may cost this many times the work of finding the first pure map; 0 leaves it out.
        restarts: how many searches to make; the first from the means of the classes, the others from samples at random.
            Kept is the map with the fewest cells, of several the one of lowest entropy.
        seed: of these samples.

    Returns:
        PureVoronoi(centroids, labels, assignment) with `sizes`, `entropy` in bits, `predict(x)`, and |C| as its len().
        The same for the same arguments, device and number of threads.

    Raises:
        ValueError: no samples, NaN or infinity (the message names the row), values above 1e150, shapes that do not fit,
            options out of range, or two equal samples of different labels (the message names them): no map is pure.
        TypeError: wrong dtypes.
    """
    op = "pure_voronoi"
    if not (effort := number(op, "effort", effort)) >= 0:
        raise ValueError(f"{op}: effort must not be negative, got {effort}")
    restarts, seed = integer(op, "restarts", restarts, 1, 1 << 20), integer(op, "seed", seed, 0, (1 << 62) - 1)
    x, found, owner = _checked(op, x, y)
    stored, shrink = _within_range(_stored(x))
    points, centre, scale = _normalised(stored)
    if len(found) == 1:
        return _finished(x, found, centre[None] / shrink, owner[:1])
    most = torch.finfo(points.dtype).max * shrink
    order = owner.argsort(stable=True)
    points = points[order]
    maps = []
    for turn in range(restarts):
        generator = torch.Generator().manual_seed(seed + turn) if turn else None
        state = Search(points, owner[order], len(found), generator).run(effort)
        centroids = (state.centroids * scale + centre).clamp(-most, most) / shrink
        maps.append(_made_pure(op, x, found, owner, centroids, state.labels))
    if 4 * min(map(len, maps)) > len(x):  # labels with hardly any structure
        maps.append(condensed_nearest_neighbour(x, y))
    return min(maps, key=lambda one: (len(one), float(one.entropy)))


def pure_entropy(x: Any, y: Any, *, effort: float = 2.0, restarts: int = 1, seed: int = 0) -> Tensor:
    """The pure entropy H*(X; Y) in bits (Definition 7): the entropy of the cell sizes of `pure_voronoi(x, y, ...)`.

    An upper bound of that of the best map, as accurate as the search is good.

    Args, errors: as `pure_voronoi`.

    Returns:
        float64 0-d tensor on the device of x.
    """
    return pure_voronoi(x, y, effort=effort, restarts=restarts, seed=seed).entropy


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
    drawing = seeded(op, generator)
    x, found, owner = _checked(op, x, y)
    n = len(x)
    order = torch.arange(n) if generator is None else torch.randperm(n, generator=drawing)
    # In float64 where that is cheap; what rounding hides otherwise is mended at the end.
    points, _, _ = _normalised(x.double() if x.numel() <= 1 << 24 else _within_range(_stored(x))[0])
    points, index = points[order.to(x.device)], owner[order.to(x.device)]
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
    return _made_pure(op, x, found, owner, _stored(x)[chosen], owner[chosen])


def _checked(op: str, x: Any, y: Any) -> tuple[Tensor, Tensor, Tensor]:
    x = samples(op, "x", x)
    found, owner = classes(op, y, x)
    if x.dtype is torch.float64 and x.numel() and float(x.abs().max()) > LARGEST:
        raise NoPureMapError(f"{op}: x must not be larger than {LARGEST:g}, or squared distances overflow")
    if (pair := contradiction(x, owner)) is not None:
        first, second = pair
        raise NoPureMapError(
            f"{op}: rows {first} and {second} of x are equal, but their labels are {found[owner[first]].item()} and "
            f"{found[owner[second]].item()}: no map of them is pure"
        )
    return x, found, owner


def _stored(x: Tensor) -> Tensor:
    """In the dtype of centroids."""
    return x if x.dtype is torch.float64 else x.float()


def _within_range(x: Tensor) -> tuple[Tensor, float]:
    """x times a power of two, where sums and differences of float32 might overflow, and that power."""
    if x.dtype is torch.float64 or not x.numel() or float(x.abs().max()) < LARGE:
        return x, 1.0
    return x * 2.0**-64, 2.0**-64


def _normalised(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """x less its mean and over the root mean square length that is left, in a copy; and both of these."""
    centre = x.mean(dim=0)
    points = x - centre
    largest = points.abs().max() if points.numel() else points.new_ones(())  # so that no square overflows
    largest = torch.where(largest > 0, largest, 1)
    points /= largest
    length = points.square().sum(dim=1).mean().sqrt()
    length = torch.where(length > 0, length, 1)
    points /= length
    return points, centre, largest * length


def _made_pure(op: str, x: Tensor, found: Tensor, owner: Tensor, centroids: Tensor, labels: Tensor) -> PureVoronoi:
    """Turns wrong samples into centroids, for which those of another label that lie there give way, until all is pure.

    No sample can become wrong again after that, but one that float64 distances cannot tell from one of another label.
    """
    stored = _stored(x)
    added: set[int] = set()
    while bool((wrong := impure(x, owner, centroids, labels)).any()):
        rows = wrong.nonzero()[:, 0]
        cells = assign(x[rows], centroids).tolist()
        # One sample for each cell and label: with it the others are often right.
        chosen: dict[tuple[int, int], int] = {}
        for row, cell, label in zip(rows.tolist(), cells, owner[rows].tolist(), strict=True):
            chosen.setdefault((cell, label), row)
        places = list(chosen.values())
        if again := added.intersection(places):
            raise NoPureMapError(
                f"{op}: row {min(again)} of x is too near to one of another label for float64 distances"
            )
        added.update(places)
        keep = torch.ones(len(centroids), dtype=torch.bool, device=x.device)
        for place in places:
            keep &= (centroids.double() - stored[place].double()).square().sum(dim=1) > 0
        centroids = torch.cat([centroids[keep], stored[places]])
        labels = torch.cat([labels[keep], owner[places]])
    return _finished(x, found, centroids, labels)


def _finished(x: Tensor, found: Tensor, centroids: Tensor, labels: Tensor) -> PureVoronoi:
    """Sorted by label, without empty cells."""
    order = labels.argsort(stable=True)
    centroids, labels = centroids[order], labels[order]
    cells = assign(x, centroids)
    used, cells = torch.unique(cells, return_inverse=True)
    return PureVoronoi(centroids[used].clone(), found[labels[used]], cells)

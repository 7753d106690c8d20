"""The search behind `pure_voronoi`: few labelled centroids such that each sample is nearest to one of its own label.

Grow: from the mean of each class, move all centroids downhill until few samples are wrong, put a new centroid in the
middle of the largest groups of wrong samples, and so on. Reduce: take the smallest cells away, several at once, then
one by one, and repair by moving; what cannot be repaired is put back.

Moving is generalised learning vector quantisation with a hinge (Sato and Yamada 1995): with a and b the squared
distances of a sample to the nearest centroid of its own and of another label, mu = (a - b) / (a + b) is negative where
the sample is right, and the samples with mu > -HINGE pull the one centroid towards and push the other away. Steps are
Adam's, with one rate for each centroid, so that nothing depends on the directions of the axes. A step looks at a
working set only, the samples nearest to being wrong; now and then all samples are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from effdl_fast.metrics._inputs import blocks

HINGE = 0.02
SAFE = -1e-5  # mu below which a sample is right beyond doubt of rounding
NEAR = -0.5  # mu above which a sample can come into the working set
WORKING_SET = 8192  # samples
PASSES = 4  # looks at all samples between two changes of the number of centroids; one while more than ROUGH are wrong
ROUGH = 0.03  # share of samples
STEPS, PATIENCE = 150, 40  # in a working set; and without progress
GROW_RATE, REPAIR_RATE = (
    0.03,
    0.01,
)  # length of a step, in units of the samples' root mean square distance from the mean
STALLED = 25  # rounds of growth without progress
OVERHEAD = 1 << 19  # work of a step on nothing, in the units of `Search.work`: multiply-adds


@dataclass
class State:
    """Centroids in the order of their labels."""

    centroids: Tensor  # (k, d)
    labels: Tensor  # int64 (k,), ascending

    def __len__(self) -> int:
        return len(self.labels)

    def chosen(self, keep: Tensor) -> State:
        return State(self.centroids[keep], self.labels[keep])

    def extended(self, centroids: Tensor, labels: Tensor) -> State:
        labels = torch.cat([self.labels, labels])
        order = labels.argsort(stable=True)
        return State(torch.cat([self.centroids, centroids])[order], labels[order])


class Search:
    """points: (n, d) float32 or float64, centred, of unit root mean square length, sorted by owner; owner: int64 (n,),
    every class from 0 to classes - 1 (two at least)."""

    def __init__(self, points: Tensor, owner: Tensor, classes: int, generator: torch.Generator | None) -> None:
        self.points, self.owner, self.classes = points, owner, classes
        self.generator = generator
        self.squares = points.square().sum(dim=1)
        self.work = 0

    def run(self, effort: float) -> State:
        """The smallest map found. Some samples may still be wrong: the caller has the last word."""
        state = self._completed(self._grow())
        return self._reduce(state, self.work + int(effort * self.work))

    # ---- growing and reducing ----

    def _start(self) -> State:
        labels = torch.arange(self.classes, device=self.owner.device)
        counts = torch.bincount(self.owner, minlength=self.classes)
        if self.generator is None:
            sums = self.points.new_zeros(self.classes, self.points.shape[1]).index_add_(0, self.owner, self.points)
            return State(sums / counts[:, None], labels)
        share = torch.rand(self.classes, generator=self.generator, dtype=torch.float64).to(counts.device)
        return State(self.points[counts.cumsum(0) - counts + (share * counts).long()], labels)

    def _grow(self) -> State:
        state, best, since = self._start(), len(self.points) + 1, 0
        while True:
            state, wrong = self._moved(state, GROW_RATE)
            since = 0 if wrong < best else since + 1
            best = min(best, wrong)
            if wrong == 0 or since == STALLED or 2 * len(state) > len(self.points):
                return state
            mu, _, other = self._all(state)
            rows = (mu > SAFE).nonzero()[:, 0]
            groups, group, counts = torch.unique(
                other[rows] * self.classes + self.owner[rows], return_inverse=True, return_counts=True
            )
            sums = state.centroids.new_zeros(len(groups), self.points.shape[1]).index_add_(0, group, self.points[rows])
            most = max(1, len(state) // (4 if len(rows) > ROUGH * len(self.points) else 8))
            order = counts.argsort(descending=True, stable=True)[:most]
            order = order[2 * counts[order] >= counts.max()]
            state = state.extended((sums / counts[:, None])[order], groups[order] % self.classes)

    def _completed(self, state: State) -> State:
        """Makes wrong samples centroids, one for each cell and label at a time, where growth has stalled."""
        added = torch.zeros_like(self.owner, dtype=torch.bool)
        while True:
            mu, _, other = self._all(state)
            rows = ((mu > SAFE) & ~added).nonzero()[:, 0]
            if not len(rows):
                return state
            groups, group = torch.unique(other[rows] * self.classes + self.owner[rows], return_inverse=True)
            first = torch.full_like(groups, len(self.points)).scatter_reduce_(0, group, rows, "amin")
            added[first] = True
            state = state.extended(self.points[first], self.owner[first])

    def _reduce(self, state: State, most: int) -> State:
        mu, own, _ = self._all(state)
        if bool((mu > SAFE).any()):
            return state
        at_once, place, smaller = max(1, len(state) // 8), 0, False
        while self.work < most:
            sizes = torch.bincount(own, minlength=len(state))
            alone = torch.bincount(state.labels, minlength=self.classes)[state.labels] == 1
            order = sizes.masked_fill(alone, len(self.points) + 1).argsort(stable=True)
            order = order[: len(state) - int(alone.sum())]
            if place >= len(order):
                if not smaller or not len(order):
                    return state
                place, smaller = 0, False  # another round, as the last one has changed something
            keep = torch.ones(len(state), dtype=torch.bool, device=order.device)
            keep[order[place : place + at_once]] = False
            keep[self._last_of_class(state, keep)] = True
            shorter, wrong = self._moved(state.chosen(keep), REPAIR_RATE)
            if wrong == 0:
                state, smaller = shorter, True
                _, own, _ = self._all(state)
            elif at_once > 1:
                at_once //= 2
            else:
                place += 1
        return state

    def _last_of_class(self, state: State, keep: Tensor) -> Tensor:
        """One centroid of each class of which none is kept."""
        kept = torch.bincount(state.labels[keep], minlength=self.classes)
        first = torch.searchsorted(state.labels, torch.arange(self.classes, device=keep.device))
        return first[kept == 0]

    # ---- moving ----

    def _moved(self, state: State, rate: float) -> tuple[State, int]:
        """The best state on the way, and the number of samples that are wrong in it."""
        best, least = state, len(self.points) + 1
        for turn in range(PASSES):
            mu, _, _ = self._all(state)
            wrong = int((mu > SAFE).sum())
            if wrong < least:
                best, least = state, wrong
            elif wrong > least:
                break
            if wrong == 0 or (turn and wrong > ROUGH * len(self.points)):
                break
            near = int((mu > NEAR).sum())
            rows = mu.topk(min(near, max(WORKING_SET, 2 * wrong))).indices.sort().values
            state = self._steps(state, rows, rate)
        else:
            wrong = int((self._all(state)[0] > SAFE).sum())
            if wrong < least:
                best, least = state, wrong
        return best, least

    def _steps(self, state: State, rows: Tensor, rate: float) -> State:
        points, squares = self.points[rows], self.squares[rows]
        starts = self._starts(self.owner[rows])
        centroids = state.centroids.clone()
        columns = self._starts(state.labels)
        first, second = torch.zeros_like(centroids), centroids.new_zeros(len(centroids), 1)
        best, least, since = state.centroids, len(points) + 1, 0
        for step in range(1, STEPS + 1):
            a, own, b, other = self._nearest(points, squares, starts, centroids, columns)
            total = (a + b).clamp(min=1e-30)
            mu = (a - b) / total
            wrong = int((mu > SAFE).sum())
            since += 1
            if wrong < least:
                best, least, since = centroids.clone(), wrong, 0
            if wrong == 0 or since > PATIENCE:
                break
            # The slope of the sum of mu over the hinge: pulled by own samples, pushed by others.
            rows = (mu > -HINGE).nonzero()[:, 0]
            pull, push = (side[rows] / total[rows].square() for side in (b, a))
            weight = points.new_zeros(len(rows), len(centroids))
            weight.scatter_(1, own[rows, None], -pull[:, None]).scatter_(1, other[rows, None], push[:, None])
            slope = weight.T @ points[rows] - weight.sum(dim=0)[:, None] * centroids
            first.mul_(0.9).add_(slope, alpha=0.1)
            second.mul_(0.99).add_(slope.square().sum(dim=1, keepdim=True), alpha=0.01)
            pace = rate * (1 - (step - 1) / STEPS) / (1 - 0.9**step)
            centroids -= pace * first / ((second / (1 - 0.99**step)).sqrt() + 1e-12)
        return State(best, state.labels)

    # ---- distances ----

    def _all(self, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """Of all samples: mu, the nearest centroid of the own label, and the nearest of another."""
        columns = self._starts(state.labels)
        mu = torch.empty_like(self.squares)
        own, other = torch.empty_like(self.owner), torch.empty_like(self.owner)
        for begin, end in blocks(len(self.points), len(state)):
            part = slice(begin, end)
            starts = self._starts(self.owner[part])
            a, own[part], b, other[part] = self._nearest(
                self.points[part], self.squares[part], starts, state.centroids, columns
            )
            mu[part] = (a - b) / (a + b).clamp(min=1e-30)
        return mu, own, other

    def _starts(self, labels: Tensor) -> list[int]:
        """Where each class begins in ascending labels, and the end."""
        return torch.searchsorted(labels, torch.arange(self.classes + 1, device=labels.device)).tolist()

    def _nearest(
        self, points: Tensor, squares: Tensor, rows: list[int], centroids: Tensor, columns: list[int]
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Squared distance to and place of the nearest centroid of the own label, and of another."""
        self.work += len(points) * len(centroids) * (2 * points.shape[1] + 16) + OVERHEAD
        distances = torch.addmm(centroids.square().sum(dim=1), points, centroids.T, alpha=-2)
        a, own = torch.empty_like(squares), torch.empty_like(squares, dtype=torch.int64)
        for c in range(self.classes):
            r, k = slice(rows[c], rows[c + 1]), slice(columns[c], columns[c + 1])
            if r.start < r.stop:
                block = distances[r, k]
                a[r], own[r] = block.min(dim=1)
                own[r] += k.start
                block.fill_(torch.inf)
        b, other = distances.min(dim=1)
        return (a + squares).clamp(min=0), own, (b + squares).clamp(min=0), other

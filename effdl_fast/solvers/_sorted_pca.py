"""Samples as weight vectors, spread along the first principal component (thesis section 7.8.2, Fig. 7.14)."""

from __future__ import annotations

import torch
from torch import Tensor

from effdl_fast.solvers._projection import evenly_spaced, first_component
from effdl_fast.solvers._representation import Representation

SAME = 1e-3  # share of the spread by which a sample's place may differ between two passes


def sorted_pca(z: Representation, width: int) -> Tensor:
    """Weights (d + 1, width): no bias, and the samples at evenly spaced places along the first principal component.

    From a loader they are found again in a second pass: by their order, or, where that changes, as those that lie
    nearest to the same places.
    """
    features = int(z.moments().shape[0] - 1 - z.targets)
    component = first_component(z.moments(), features).to(z.dtype)
    local = torch.cat([x @ component for x, _ in z.parts()])
    places = z.group.gather_ragged(local)
    chosen = torch.argsort(places, stable=True)[evenly_spaced(len(places), width).to(places.device)]
    wanted = places[chosen]
    before = z.group.gather(torch.tensor([len(local)], device=local.device))[: z.group.rank()]
    chosen = chosen - sum(int(size) for size in before)
    mine = (chosen >= 0) & (chosen < len(local))
    found = _Found(wanted, features)
    begin = 0
    for x, _ in z.parts():
        found.look(x, x @ component, torch.where(mine, chosen - begin, -1))
        begin += len(x)
    moved = (found.place - wanted).abs() > SAME * (places.amax() - places.amin())
    moves = int(z.group.sum((moved & mine).sum()))
    rows = z.group.sum(torch.where(mine[:, None], found.rows, 0.0)) if moves == 0 else found.nearest_of_all(z)
    return torch.cat([rows.new_zeros(width, 1), rows], dim=1).mT.contiguous()


class _Found:
    """Rows by their order and by their place."""

    def __init__(self, wanted: Tensor, features: int) -> None:
        self.wanted = wanted
        self.rows = wanted.new_zeros(len(wanted), features)
        self.place = torch.full_like(wanted, torch.inf)
        self.nearest = torch.zeros_like(self.rows)
        self.distance = torch.full_like(wanted, torch.inf)

    def look(self, x: Tensor, places: Tensor, index: Tensor) -> None:
        """A block of samples; `index` where in it the wanted ones are, if in it."""
        here = (index >= 0) & (index < len(x))
        self.rows[here], self.place[here] = x[index[here]], places[index[here]]
        ordered, order = places.sort()
        above = torch.searchsorted(ordered, self.wanted).clamp(max=len(x) - 1)
        for candidate in (above, (above - 1).clamp(min=0)):
            distance = (ordered[candidate] - self.wanted).abs()
            nearer = distance < self.distance
            self.distance = torch.where(nearer, distance, self.distance)
            self.nearest[nearer] = x[order[candidate[nearer]]]

    def nearest_of_all(self, z: Representation) -> Tensor:
        """Over all ranks; of equal distances that of the first rank."""
        distances = torch.stack(z.group.gather(self.distance))
        mine = distances.argmin(dim=0) == z.group.rank()
        return z.group.sum(torch.where(mine[:, None], self.nearest, 0.0))

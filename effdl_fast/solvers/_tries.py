"""Which of several tries of a layer has the output with the lowest least squares distance (thesis section 7.5.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from effdl_fast.solvers._least_squares import distance, from_moments, narrow
from effdl_fast.solvers._representation import Representation


def best_try(z: Representation, weights: Tensor, c: int, l2: float) -> tuple[int, Tensor, float]:
    """Of weights (t, n, w): the best one's place, the moments of its output, and the distance, infinite for none."""
    moments = z.candidates(weights)
    distances = _distances(moments, c, l2)
    best = int(distances.argmin())
    return best, moments[best], float(distances[best])


def _distances(moments: Tensor, c: int, l2: float) -> Tensor:
    """Of moments (t, ., .): infinite where they are not finite. Those of wide layers have the layer's ridge in them."""
    if narrow(moments.shape[-1] - c, c):
        found = from_moments(moments, c, 0.0, None).lsd
        return torch.where(found.isfinite(), found, torch.inf)
    return torch.stack([distance(m, c, l2) for m in moments])

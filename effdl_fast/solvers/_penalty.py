"""The ridge parameter of a layer, by (generalised) cross-validation from one eigendecomposition."""

from __future__ import annotations

import torch
from torch import Tensor

from effdl_fast.solvers._representation import Representation

CHOICES = ("gcv", "loo")
GRID = torch.logspace(-12, 1, 40, dtype=torch.float64)  # shares of the largest eigenvalue


def choose_l2(z: Representation, c: int, how: str, where: str) -> float:
    """The l2 of a grid with the least error on samples left out, of the linear map from the present representation.

    "gcv": the generalised cross-validation of Golub, Heath and Wahba (1979), from the moments alone.
    "loo": each sample left out in turn (Allen's PRESS), exactly, by one more pass over the samples for all of the grid.
    """
    moments = z.moments()
    n = moments.shape[0] - c
    if not bool(torch.isfinite(moments).all()):
        raise ValueError(f"{where}: NaN or infinity in the representation")
    values, vectors = torch.linalg.eigh(moments[:n, :n])
    values = values.clamp(min=0.0)
    grid = (GRID.to(values.device) * values[-1]).clamp(min=torch.finfo(values.dtype).tiny)
    filters = 1.0 / (values + grid[:, None])  # (grid, n)
    projected = vectors.mT @ moments[:n, n:]
    if how == "gcv":
        m, total = moments[0, 0], moments.diagonal()[n:].sum()
        fit = ((2.0 * filters - values * filters.square()) @ projected.square()).sum(1)
        freedom = (values * filters).sum(1)
        error = (total - fit).clamp(min=0.0) / (m - freedom).clamp(min=1.0).square()
    else:
        error = z.group.sum(_left_out(z, vectors, filters, projected))
    return float(grid[error.argmin()])


def _left_out(z: Representation, vectors: Tensor, filters: Tensor, projected: Tensor) -> Tensor:
    """Sum over samples and targets of the squared error where the sample is left out, for each of the grid."""
    total = torch.zeros_like(filters[:, 0])
    for part, y in z.parts():
        u = torch.cat([part.new_ones(len(part), 1), part], 1).double() @ vectors
        spared = (1.0 - u.square() @ filters.mT).clamp(min=torch.finfo(u.dtype).eps)  # (rows, grid)
        for k, f in enumerate(filters):
            error = (y.double() - u @ (f[:, None] * projected)) / spared[:, k : k + 1]
            total[k] += error.square().sum()
    return total

"""The ridge parameter of a layer, by (generalised) cross-validation from one eigendecomposition."""

from __future__ import annotations

import torch
from torch import Tensor

from effdl_fast.solvers._least_squares import TRUST
from effdl_fast.solvers._representation import Representation

CHOICES = ("gcv", "loo")
VALUES = 60  # of the grid, besides 0
TRUST_FLOAT32 = 1e-6  # of eigenvalues of moments whose products were rounded to float32, as a share of the largest
RESOLVED = 1e-7  # share of freedom, below which the error of a sample left out is lost to rounding


def choose_l2(z: Representation, c: int, how: str, where: str) -> float:
    """The l2 of a grid with the least error on samples left out, of the linear map from the present representation.

    "gcv": the generalised cross-validation of Golub, Heath and Wahba (1979), from the moments alone.
    "loo": each sample left out in turn (Allen's PRESS), exactly, by one more pass over the samples for all of the grid.
    """
    moments = z.moments()
    if not bool(torch.isfinite(moments).all()):
        raise ValueError(f"{where}: NaN or infinity in the representation")
    values, vectors, projected = _decomposed(z, c)
    grid = grid_of(values)
    filters = torch.where(values > 0, 1.0 / (values + grid[:, None]), 0.0)  # (grid, n)
    if how == "gcv":
        m, total = moments[0, 0], moments.diagonal()[moments.shape[0] - c :].sum()
        fit = ((2.0 * filters - values * filters.square()) @ projected.square()).sum(1)
        left = m - (values * filters).sum(1)
        error = torch.where(left > RESOLVED * m, (total - fit).clamp(min=0.0) / left.square(), torch.inf)
    else:
        error = z.group.sum(_left_out(z, vectors, filters, projected))
    return float(grid[error.argmin()])


def grid_of(values: Tensor) -> Tensor:
    """0, and from far below the smallest positive one of eigenvalues (n,) to above the largest, ascending.

    It begins and ends with powers of 10, so that the rounding of eigenvalues does not move it.
    """
    low, high = values[values > 0].log10().aminmax()
    low, high = low.floor(), high.ceil()
    steps = torch.linspace(0.0, 1.0, VALUES, dtype=values.dtype, device=values.device)
    return torch.cat([torch.zeros_like(low[None]), 10.0 ** (low - 4.0 + steps * (high - low + 5.0))])


def _decomposed(z: Representation, c: int) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues (n,) of G, 0 where they are 0 but for rounding; eigenvectors V (n, n) in columns; V'C (n, c).

    Columns of very different scales: moments taken again in float64, and at last the singular values of a triangular
    factor, tell small eigenvalues from rounding.
    """
    moments = z.moments()
    n = moments.shape[0] - c
    zero = int((moments.diagonal()[:n] == 0).sum())  # columns of zeros: as many eigenvalues that say nothing
    values, vectors = torch.linalg.eigh(moments[:n, :n])
    if z.rounded and not bool(values[zero] > TRUST_FLOAT32 * values[-1]):
        moments = z.moments(precise=True)
        values, vectors = torch.linalg.eigh(moments[:n, :n])
    if bool(values[zero] > TRUST * values[-1]):
        values = torch.where(values > TRUST * values[-1], values, 0.0)
        return values, vectors, vectors.mT @ moments[:n, n:]
    factor, rtol = z.triangle()
    left, roots, vh = torch.linalg.svd(factor[:, :n], full_matrices=False)
    share = max(n, float(moments[0, 0])) * torch.finfo(roots.dtype).eps if rtol is None else rtol
    roots = torch.where(roots > share * roots[0], roots, 0.0)
    return roots.square(), vh.mT, roots[:, None] * (left.mT @ factor[:, n:])


def _left_out(z: Representation, vectors: Tensor, filters: Tensor, projected: Tensor) -> Tensor:
    """Sum over samples and targets of the squared error where the sample is left out, for each of the grid.

    Infinity where a sample determines its own prediction but for rounding.
    """
    total = torch.zeros_like(filters[:, 0])
    for part, y in z.parts():
        u = torch.cat([part.new_ones(len(part), 1), part], 1).double() @ vectors
        spared = 1.0 - u.square() @ filters.mT  # (rows, grid)
        total = torch.where(spared.amin(0) > RESOLVED, total, torch.inf)
        for k, f in enumerate(filters):
            error = (y.double() - u @ (f[:, None] * projected)) / spared[:, k : k + 1]
            total[k] += error.square().sum()
    return torch.where(total.isnan(), torch.inf, total)

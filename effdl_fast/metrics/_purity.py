"""Nearest centroids with a proof: which samples lie strictly nearer to a centroid of their own label than to any other.

Decisions are those of float64 distances, summed from differences. Products settle what a bound on their rounding
settles; what is left is computed from differences.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from effdl_fast.metrics._inputs import blocks

EPS = torch.finfo(torch.float64).eps


def assign(x: Tensor, centroids: Tensor) -> Tensor:
    """int64 (n,): the nearest centroid of each sample; of several at equal distance the first."""
    return _decide(x, centroids)[0]


def impure(x: Tensor, owner: Tensor, centroids: Tensor, labels: Tensor) -> Tensor:
    """bool (n,): whether some centroid of another label is as near as the nearest one of the sample's own label."""
    nearest, tied = _decide(x, centroids)
    wrong = labels[nearest] != owner
    for row, ties in tied.items():
        wrong[row] = bool((labels[ties] != owner[row]).any())
    return wrong


def _decide(x: Tensor, centroids: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
    """The nearest centroids, and for rows with several at equal distance all of these."""
    keys = centroids.double()
    centre = keys.mean(dim=0)
    keys = keys - centre
    lengths = keys.square().sum(dim=1)
    nearest = torch.empty(len(x), dtype=torch.int64, device=x.device)
    tied: dict[int, Tensor] = {}
    for begin, end in blocks(len(x), len(keys) + x.shape[1]):
        rows = x[begin:end].double() - centre
        scores = torch.addmm(lengths, rows, keys.T, alpha=-2)
        best, index = scores.min(dim=1)
        nearest[begin:end] = index
        # Rounding of the products, of the centring and of the sums, with room to spare.
        bound = 4 * (x.shape[1] + 4) * EPS * (rows.square().sum(dim=1) + lengths.max() + centre.square().sum())
        close = scores <= (best + 2 * bound)[:, None]
        for row in (close.sum(dim=1) > 1).nonzero()[:, 0].tolist():
            candidates = close[row].nonzero()[:, 0]
            exact = (centroids[candidates].double() - x[begin + row].double()).square().sum(dim=1)
            ties = candidates[exact == exact.min()]
            nearest[begin + row] = ties[0]
            if len(ties) > 1:
                tied[begin + row] = ties
    return nearest, tied


def contradiction(x: Tensor, owner: Tensor) -> tuple[int, int] | None:
    """Two equal rows of different labels, the first such pair, or None."""
    seen: dict[bytes, tuple[int, int]] = {}
    labels = owner.tolist()
    for begin, end in blocks(len(x), x.shape[1]):
        rows = (x[begin:end] + 0).cpu().contiguous()  # -0 becomes 0
        rows = rows if rows.dtype is not torch.bfloat16 else rows.float()
        for place, row in enumerate(rows.numpy(), begin):
            first, label = seen.setdefault(
                hashlib.blake2b(row.tobytes(), digest_size=16).digest(), (place, labels[place])
            )
            if label != labels[place]:
                return first, place
    return None

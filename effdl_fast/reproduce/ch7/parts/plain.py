"""The thesis's recipes in plain PyTorch: the targets are formed, and one of its least squares solvers is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LeastSquares = Callable[[Tensor, Tensor], Tensor]  # (Z (m, n), T (m, w)) -> W (n, w)


def pinv(tolerance: float | None = None) -> LeastSquares:
    """torch.linalg.pinv with PyTorch's tolerance, or an absolute one."""
    return lambda z, t: torch.linalg.pinv(z, atol=tolerance) @ t


def lstsq(tolerance: float | None = None) -> LeastSquares:
    """torch.linalg.lstsq with PyTorch's tolerance, or a relative one."""
    return lambda z, t: torch.linalg.lstsq(z, t, rcond=tolerance).solution


def solve(l2: float) -> LeastSquares:
    """Ridge regression by torch.linalg.solve (section 7.6.2), in the dtype of Z. RuntimeError for a singular matrix."""
    return lambda z, t: torch.linalg.solve(z.mT @ z + l2 * torch.eye(z.shape[1], dtype=z.dtype), z.mT @ t)


def with_ones(z: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(z[:, :1]), z], dim=1)


def random_network(
    x: Tensor,
    y: Tensor,
    hidden: Sequence[int],
    activation: Callable[[Tensor], Tensor],
    least_squares: LeastSquares,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    seed: int,
) -> Tensor:
    """What a network fitted by random projections (Fig. 7.3) makes of x (m, d); y (m,) are its targets."""
    generator = torch.Generator().manual_seed(seed)
    z = with_ones(x)
    for width in hidden:
        a = alpha * torch.cat([z, beta * y[:, None]], dim=1)
        p = torch.randn(a.shape[1], width, generator=generator, dtype=torch.float64).to(x.dtype)
        z = with_ones(activation(z @ least_squares(z, a @ p)))
    return (z @ least_squares(z, y[:, None]))[:, 0]


@dataclass(frozen=True)
class Reading:
    """How section 7.9.3 is read.

    dtype: in which the principal components are computed; centred: about the mean, not the origin; signs: of the
    columns of T, "largest" (the entry of largest magnitude is positive), "sum" (the sum is) or "any" (as they come);
    ema: lambda, None without weights; weigh_targets: d multiplies Y in T, too, not only where P is found; scale: of
    the first layer's output.
    """

    dtype: torch.dtype
    centred: bool = False
    signs: str = "largest"
    ema: float | None = 0.2
    weigh_targets: bool = True
    beta: float = 1e7
    scale: float = 1.0


def sorted_pca(x: Tensor, width: int) -> Tensor:
    """`width` samples (rows of x) at evenly spaced places along the first principal component (Fig. 7.14).

    The largest element of the component is positive, as in PlatonicMLP; the thesis's has the sign as it comes.
    """
    centred = (x - x.mean(dim=0)).double()
    first = torch.linalg.eigh(centred.mT @ centred)[1][:, -1]
    first = first * first[first.abs().argmax()].sign()
    order = torch.argsort(centred @ first)
    places = (torch.arange(width) * (len(x) / width)).round().long().clamp(max=len(x) - 1)
    return x[order[places.to(x.device)]]


def ridge(z: Tensor, t: Tensor, l2: float) -> Tensor:
    """(Z'Z + l2 I)^-1 Z'T, in float64."""
    wide = z.double()
    return solve(l2)(wide, t.double())


def pca_network(x: Tensor, y: Tensor, hidden: Sequence[int], l2: float, reading: Reading) -> Callable[[Tensor], Tensor]:
    """Sorted PCA, then weighted Platonic PCA, ReLU; x (m, d), one-hot y (m, c). Returns the network as a function."""
    weights = [torch.cat([x.new_zeros(hidden[0], 1), reading.scale * sorted_pca(x, hidden[0])], dim=1).mT]
    z, d = torch.relu(with_ones(x) @ weights[0]), torch.ones_like(y[:, :1])
    for width in hidden[1:]:
        z = with_ones(z)
        if reading.ema is not None:
            errors = (y - z @ ridge(z, y, l2).to(z.dtype)).square().sum(dim=1, keepdim=True)
            d = reading.ema * d + (1 - reading.ema) * errors
        weights.append(ridge(z, pca_targets(z, y, d, width, reading), l2).to(z.dtype))
        z = torch.relu(z @ weights[-1])
    head = ridge(with_ones(z), y, l2).to(z.dtype)

    def network(samples: Tensor) -> Tensor:
        for w in weights:
            samples = torch.relu(with_ones(samples) @ w)
        return with_ones(samples) @ head

    return network


def pca_targets(z: Tensor, y: Tensor, d: Tensor, width: int, reading: Reading) -> Tensor:
    """T = [Z, beta d Y] P (m, width), P the first principal components of [Z, beta d Y]."""
    a = torch.cat([z, reading.beta * d * y], dim=1).to(reading.dtype)
    around = a - a.mean(dim=0) if reading.centred else a
    p = torch.linalg.eigh(around.mT @ around)[1].flip(1)[:, :width]
    if not reading.weigh_targets:
        a = torch.cat([z, reading.beta * y], dim=1).to(reading.dtype)
    t = a @ p
    if reading.signs == "largest":
        t *= t.gather(0, t.abs().argmax(dim=0, keepdim=True)).sign()
    elif reading.signs == "sum":
        t *= torch.where(t.sum(dim=0) < 0, -1.0, 1.0).to(t.dtype)
    return t

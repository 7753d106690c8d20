"""The thesis's recipes in plain PyTorch: the targets are formed, and one of its least squares solvers is called."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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

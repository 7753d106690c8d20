"""Points in the plane: the toy problems of sections 5.3.4, 5.4 and 5.4.2."""

from __future__ import annotations

import math

import torch
from torch import Tensor

AMPLITUDE = 0.5  # of the sinusoidal boundary in [-1, 1]^2


def sinusoid(count: int, frequency: float, seed: int) -> tuple[Tensor, Tensor]:
    """Uniform points (count, 2) in [-1, 1]^2, class 1 above the boundary 0.5 sin(pi frequency x), without noise.

    `frequency` counts the periods from -1 to 1.
    """
    x = 2 * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) - 1
    return x, (x[:, 1] > AMPLITUDE * torch.sin(math.pi * frequency * x[:, 0])).long()


def distance_to_sinusoid(x: Tensor, frequency: float, steps: int = 4001) -> Tensor:
    """Euclidean distance (n,) of points (n, 2) to that boundary, which is continued to both sides of the square."""
    along = torch.linspace(-2, 2, steps)
    curve = torch.stack([along, AMPLITUDE * torch.sin(math.pi * frequency * along)], dim=1)
    return torch.cdist(x, curve).amin(dim=1)


def checkerboard(count: int, squares: int, seed: int) -> tuple[Tensor, Tensor]:
    """Uniform points (count, 2) in [-0.5, 0.5]^2 and the colour, 0 or 1, of the square that each lies in."""
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    square = (x * squares).long().clamp(max=squares - 1)
    return x - 0.5, square.sum(1) % 2


def distance_to_diagonals(x: Tensor) -> Tensor:
    """Euclidean distance (n,) of points (n, 2) to the nearer one of the two diagonals through the origin."""
    return torch.minimum((x[:, 0] - x[:, 1]).abs(), (x[:, 0] + x[:, 1]).abs()) / math.sqrt(2)

"""The toy problems of chapter 7; the checkerboard and the sinusoidal boundary are those of chapter 5."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TURNS = 1.5  # of each spiral
MARGIN = 0.15  # from the line that separates the classes of `separable`
NORMAL = (0.6, 0.8)  # of that line


def sine(count: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """x (count, 1), evenly spaced from -1 to 1, and two periods of the sine over it, (count,)."""
    x = torch.linspace(-1, 1, count, dtype=torch.float64)
    return x[:, None].to(dtype), torch.sin(2 * math.pi * x).to(dtype)


def spirals(count: int, dtype: torch.dtype = torch.float32, turns: float = TURNS) -> tuple[Tensor, Tensor]:
    """Two spirals (count, 2), one the other turned by half a circle, and their labels 0 and 1; without noise.

    The radius grows from 0 to 1 with the angle; points are evenly spaced in the angle.
    """
    first = (count + 1) // 2
    t = torch.linspace(0, 1, first, dtype=torch.float64)
    angle = 2 * math.pi * turns * t
    arm = torch.stack([t * torch.cos(angle), t * torch.sin(angle)], dim=1)
    labels = torch.cat([torch.ones(first), torch.zeros(count - first)]).long()
    return torch.cat([arm, -arm[: count - first]]).to(dtype), labels


def separable(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Uniform points (count, 2) of the square [-1, 1]^2, none within MARGIN of a line through the origin; labels are
    the sides of it."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.tensor(NORMAL)
    x = torch.empty(0, 2)
    while len(x) < count:
        drawn = 2 * torch.rand(count, 2, generator=generator) - 1
        x = torch.cat([x, drawn[(drawn @ normal).abs() > MARGIN]])
    return x[:count], (x[:count] @ normal > 0).long()


def signs(labels: Tensor) -> Tensor:
    """-1 and 1 (n,) for labels 0 and 1."""
    return 2.0 * labels - 1.0

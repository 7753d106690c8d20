"""The three-layer network of Table 4.1 (sec. 4.3): in-392-50-classes, ReLU in the hidden layers, nothing else."""

from __future__ import annotations

import math

from torch import nn

HIDDEN = (392, 50)


def mlp(sample_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """Fully connected, PyTorch's default initialisation; samples of any shape are flattened."""
    first, second = HIDDEN
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(sample_shape), first),
        nn.ReLU(),
        nn.Linear(first, second),
        nn.ReLU(),
        nn.Linear(second, classes),
    )

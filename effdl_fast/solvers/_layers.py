"""A stack of hidden layers z_i = activation([1 z_{i-1}] W_i), row 0 of W_i the bias."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops
from effdl_fast.solvers._activation import Activation

ROWS = 2048  # of a block that goes through all layers where PyTorch computes the activation


def row_blocks(rows: int, step: int = ROWS) -> Iterator[slice]:
    return (slice(begin, min(rows, begin + step)) for begin in range(0, rows, step))


def affine(z: Tensor, w: Tensor) -> Tensor:
    """[1 z] W"""
    return torch.addmm(w[0], z, w[1:])


class Layers:
    """Hidden layers, in the dtype and on the device of their samples."""

    def __init__(self, activation: Activation, weights: list[Tensor] | None = None) -> None:
        self.activation = activation
        self.weights = [] if weights is None else weights

    def __len__(self) -> int:
        return len(self.weights)

    def forward(self, x: Tensor, begin: int = 0, end: int | None = None) -> Tensor:
        """What the layers from `begin` on, before `end`, make of x (m, d)."""
        weights = self.weights[begin:end]
        if not weights:
            return x
        if self.activation.kernel is not None:
            return ops.mlp_forward(x, weights, self.activation.kernel)
        out = x.new_empty((x.shape[0], weights[-1].shape[1]))
        for rows in row_blocks(x.shape[0]):
            z = x[rows]
            for w in weights:
                z = self.activation.function(affine(z, w))
            out[rows] = z
        return out

    def moments(self, x: Tensor, y: Tensor, *, precise: bool = False) -> Tensor:
        """Moments of [1 z y], z what all layers make of x; float64."""
        if self.activation.kernel is not None or not self.weights:
            return ops.mlp_moments(x, self.weights, y, self.activation.kernel or "identity", precise=precise)
        width = 1 + self.weights[-1].shape[1] + y.shape[1]
        total = x.new_zeros((width, width), dtype=torch.float64)
        for rows in row_blocks(x.shape[0]):
            total += ops.mlp_moments(self.forward(x[rows]), [], y[rows], precise=precise)
        return total

"""The thesis's network (sec. 3.1), many of it at once: fully connected, tanh in every layer, squared error, plain SGD.

Networks that differ only in their seed are trained side by side, stacked along a first dimension. Each one draws its
initialisation and its shuffles from a generator of its own, so it sees the same numbers in whatever company it trains.
Gradients are written out: with plain SGD an update is one matrix product into the weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor

HIDDEN = (392, 50)
EVAL_BATCH = 1000


class Networks:
    """S networks of layers `sizes`. weights: per layer (S, inputs, outputs); biases: per layer (S, 1, outputs)."""

    def __init__(
        self, sizes: Sequence[int], seeds: Sequence[int], device: torch.device | str = "cpu", scale: float = 1.0
    ) -> None:
        """Biases 0; uniform weights of standard deviation scale / sqrt(inputs).

        With scale 1 the initialisation of LeCun et al., "Efficient BackProp".
        """
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self.weights = []
        self.biases = []
        for inputs, outputs in itertools.pairwise(sizes):
            limit = scale * math.sqrt(3 / inputs)
            drawn = [torch.rand(inputs, outputs, generator=g).mul_(2 * limit).sub_(limit) for g in self.generators]
            self.weights.append(torch.stack(drawn).to(device))
            self.biases.append(torch.zeros(len(drawn), 1, outputs, device=device))

    def __len__(self) -> int:
        return len(self.generators)

    def forward(self, x: Tensor) -> list[Tensor]:
        """x (S, B, inputs) and the output of every layer, the last one (S, B, classes)."""
        activations = [x]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            activations.append(torch.baddbmm(bias, activations[-1], weight).tanh_())
        return activations

    def deltas(self, activations: Sequence[Tensor], target: Tensor) -> list[Tensor]:
        """Per layer: the derivative of 1/2 sum_k (y_k - t_k)^2 of each sample with respect to the sums before tanh."""
        error = activations[-1] - target
        deltas = []
        for weight, y in zip(reversed(self.weights), reversed(activations), strict=False):
            delta = error * (1 - y * y)
            deltas.append(delta)
            if len(deltas) < len(self.weights):
                error = torch.bmm(delta, weight.mT)
        return deltas[::-1]

    def gradients(self, x: Tensor, target: Tensor) -> list[Tensor]:
        """Per layer (S, inputs, outputs): the derivative of the mean over the samples x (B, inputs) of the loss."""
        sums = [torch.zeros_like(weight) for weight in self.weights]
        for part, wanted in zip(x.split(EVAL_BATCH), target.split(EVAL_BATCH), strict=True):
            activations = self.forward(part.expand(len(self), *part.shape))
            for total, a, d in zip(sums, activations, self.deltas(activations, wanted), strict=False):
                total.baddbmm_(a.mT, d, alpha=1 / len(x))
        return sums

    def train_epoch(self, x: Tensor, target: Tensor, lr: float, batch_size: int) -> None:
        """One pass of SGD over x (N, inputs), each network in its own order; the last, incomplete batch is left out."""
        order = torch.stack([torch.randperm(len(x), generator=g) for g in self.generators]).to(x.device)
        size = min(batch_size, len(x))
        for start in range(0, len(x) - size + 1, size):
            pick = order[:, start : start + size]
            activations = self.forward(x[pick])
            deltas = self.deltas(activations, target[pick])
            for weight, bias, a, d in zip(self.weights, self.biases, activations, deltas, strict=False):
                weight.baddbmm_(a.mT, d, alpha=-lr / size)
                bias.sub_(d.sum(1, keepdim=True), alpha=lr / size)

    def accuracy(self, x: Tensor, y: Tensor) -> list[float]:
        """Percent of x (N, inputs) that each network assigns to its class y (N,)."""
        right = torch.zeros(len(self), dtype=torch.int64, device=x.device)
        for part, labels in zip(x.split(EVAL_BATCH), y.split(EVAL_BATCH), strict=True):
            right += (self.forward(part.expand(len(self), *part.shape))[-1].argmax(2) == labels).sum(1)
        return [100 * count / len(x) for count in right.tolist()]

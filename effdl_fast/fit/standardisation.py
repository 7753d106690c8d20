"""Features brought to one scale, and a network that does it by itself afterwards."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from effdl_fast.solvers import ELM, PlatonicMLP

OFFSET = 0.01  # of the range of all values: the thesis adds 0.01 to standard deviations of pixels from 0 to 1


@dataclass(frozen=True)
class Standardisation:
    """(x - mean) / (std + offset) of each feature; mean and scale = 1 / (std + offset) are float64 (d,)."""

    mean: Tensor
    scale: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Standardisation:
        """From training samples (m, d). The offset is OFFSET times the range of all their values, so that it is what
        the thesis takes for pixels from 0 to 1, however those were shifted and scaled."""
        mean = x.mean(dim=0, dtype=torch.float64)
        squares = torch.zeros_like(mean)
        for rows in x.split(4096):
            squares += (rows.double() - mean).square().sum(0)
        offset = OFFSET * (x.max() - x.min()).double()
        divisor = (squares / len(x)).sqrt() + offset
        return cls(mean, torch.where(divisor > 0, divisor.reciprocal(), 1.0))

    def apply(self, x: Tensor) -> Tensor:
        """A new matrix, of the dtype of x."""
        return x.sub(self.mean.to(x.dtype)).mul_(self.scale.to(x.dtype))

    def fold(self, model: PlatonicMLP | ELM) -> None:
        """The network that was fitted to standardised samples takes x in future: its first layer, row 0 the biases,
        becomes [b - mean s W; s W]."""
        first = model.layers_.weights[0] if len(model.layers_) else model.output_
        scaled = self.scale[:, None] * first[1:].double()
        first[0] = (first[0].double() - self.mean @ scaled).to(first.dtype)
        first[1:] = scaled.to(first.dtype)

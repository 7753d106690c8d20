"""The inputs of section 7.9: x / 255, each pixel shifted and scaled by its mean and standard deviation."""

from __future__ import annotations

import torch
from torch import Tensor

from effdl_fast.data import Dataset

SOFTENING = 0.01  # added to the standard deviations, which may be 0


def standardised(data: Dataset) -> tuple[Tensor, Tensor]:
    """Training and test samples (N, F) float32: (x - mean) / (std + 0.01), x scaled to [0, 1].

    effdl_fast.data shifts and scales whole channels. Where each channel's training values reach from the smallest to
    the largest storable one, as those of MNIST do (0 to 255), scaling them back to [0, 1] undoes that exactly.
    """
    axes = [0, *range(2, data.x_train.dim())]
    low = data.x_train.amin(axes, keepdim=True)
    span = (data.x_train.amax(axes, keepdim=True) - low).clamp(min=torch.finfo(torch.float32).tiny)
    train, test = (((x - low) / span).flatten(1) for x in (data.x_train, data.x_test))
    deviation, mean = torch.std_mean(train, dim=0, correction=0)
    return (train - mean) / (deviation + SOFTENING), (test - mean) / (deviation + SOFTENING)

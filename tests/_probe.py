"""A small network and data for the tests of LayerProbe and of its history."""

import torch
from torch import nn


def small_data():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(120, 6, generator=g)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 12), nn.ReLU(), nn.Linear(12, 8), nn.ReLU(inplace=True), nn.Linear(8, 3))

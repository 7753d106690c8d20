"""What the races of mlp_forward and mlp_moments share: layers of the size of MNIST's images, on all threads."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from effdl_fast.testing.backends import simd

from . import _weights as w

TARGET = 1.8  # over plain PyTorch, by AVX-512 where torch's products are not by it
EAGER = "addmm, relu_"
CLASSES = 10


class Data(NamedTuple):
    case: str
    level: str
    x: Tensor
    weights: list[Tensor]
    y: Tensor


def plain(x: Tensor, weights: list[Tensor]) -> Tensor:
    for layer in weights:
        x = torch.addmm(layer[0], x, layer[1:]).relu_()
    return x


def data(device: torch.device, quick: bool) -> Iterator[Data]:
    g = torch.Generator().manual_seed(0)
    m = 2000 if quick else 60_000
    x = torch.rand(m, 784, generator=g).to(device)
    y = torch.nn.functional.one_hot(torch.randint(CLASSES, (m,), generator=g), CLASSES).float().to(device)
    for widths in ((784,), (392,), (1000, 1000)):
        weights, d = [], 784
        for width in widths:
            weights.append((torch.randn(d + 1, width, generator=g) / d**0.5).to(device))
            d = width
        levels = w.levels(device)
        for level in levels if len(widths) == 1 else levels[:1]:
            case = f"{m:,} rows, {' to '.join(map(str, (784, *widths)))}, relu {level}".strip()
            with simd(level or None):
                yield Data(case, level, x, weights, y)
            if quick:
                return

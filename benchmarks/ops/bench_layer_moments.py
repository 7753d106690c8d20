"""layer_moments against what one writes in PyTorch, eager and compiled, on all threads.

The floor is the two matrix products in float32 by torch.bmm, without bias, activation, targets or float64; ours may be
below it.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops
from effdl_fast.ops._activations import ACTIVATIONS
from effdl_fast.testing.backends import simd

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "layer_moments"
PRODUCTS = "the products alone, float32, by torch.bmm"
KEPT = "ours, keeping the output"
ROWS = 5000
TARGET = 2.0  # over plain PyTorch


def plain(z: Tensor, weights: Tensor, y: Tensor, activation: str) -> Tensor:
    tries, m = weights.shape[0], z.shape[0]
    a = ACTIVATIONS[activation](torch.baddbmm(weights[:, :1], z.expand(tries, -1, -1), weights[:, 1:]))
    ones, targets = a.new_ones((tries, m, 1)), y.expand(tries, -1, -1)
    r = torch.cat([ones, a, targets], 2).double()
    return r.mT @ r


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    levels = w.levels(device)
    for width in (12, 16, 64):
        for tries in (1, 50):
            for activation in ("tanh", "relu", "celu"):
                for level in levels if width == 12 and activation == "tanh" else levels[:1]:
                    with simd(level or None):
                        yield _race(width, tries, activation, level, device, quick)
                    if quick:
                        return


def _race(width: int, tries: int, activation: str, level: str, device: torch.device, quick: bool) -> Race:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(width, ROWS, generator=g).t().to(device)  # by columns, as `keep` gives it
    weights = (torch.randn(tries, width + 1, width, generator=g) / width**0.5).to(device)
    y = torch.randn(ROWS, 1, generator=g).to(device)

    def run() -> Tensor:
        return ops.layer_moments(z, weights, y, activation).moments

    def check() -> None:
        wide = plain(z.double(), weights.double(), y.double(), activation)
        if float((run() - wide).abs().max()) > 1e-6 * ROWS:
            raise AssertionError("ours differs from float64")

    def products() -> Tensor:
        a = torch.bmm(z.expand(tries, -1, -1), weights[:, 1:])
        return torch.bmm(a.mT, a)

    contestants = [Contestant(OURS, run), Contestant(w.EAGER, lambda: plain(z, weights, y, activation))]
    if tries == 1:
        contestants.append(Contestant(KEPT, lambda: ops.layer_moments(z, weights[0], y, activation, keep=True)))
    peer, why = w.compiled(plain, quick, z, weights, y, activation)
    case = f"{ROWS:,} rows, {width} to {width}, {activation}, {tries} tries {level}".replace(" 1 tries", " 1 try")
    moved = z.nbytes + weights.nbytes + y.nbytes + 8 * tries * (width + 2) ** 2
    return Race(OP, case.strip(), [*contestants, *peer, Contestant(PRODUCTS, products)], moved, check, PRODUCTS,
                [Target(w.EAGER, TARGET)], device, why, ROWS * tries)  # fmt: skip

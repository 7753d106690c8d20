"""mlp_moments against torch.addmm, relu_ and the product of the output with itself, on all threads.

What PyTorch is raced with makes less: no bias column, no targets, sums in float32. The floor is the bare products by
torch.mm.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from . import _mlp as mlp
from . import _weights as w

OP = "mlp_moments"
PRODUCTS = "the products alone, by torch.mm"
PRECISE = "ours, precise"


def plain(x: Tensor, weights: list[Tensor]) -> Tensor:
    z = mlp.plain(x, weights)
    return torch.mm(z.t(), z)


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for data in mlp.data(device, quick):
        yield _race(data, quick)


def _race(data: mlp.Data, quick: bool) -> Race:
    x, weights, y = data.x, data.weights, data.y

    def run(precise: bool = False) -> Tensor:
        return ops.mlp_moments(x, weights, y, "relu", precise=precise)

    def products() -> Tensor:
        z = x
        for layer in weights:
            z = torch.mm(z, layer[1:])
        return torch.mm(z.t(), z)

    def check() -> None:
        wide, double = torch.zeros_like(run()), [layer.double() for layer in weights]
        for rows in torch.arange(len(x), device=x.device).split(5000):
            z = mlp.plain(x[rows].double(), double)
            r = torch.cat([z.new_ones((len(rows), 1)), z, y[rows].double()], 1)
            wide += r.t() @ r
        for precise in (False, True):
            if float((run(precise) - wide).abs().max()) > 1e-5 * float(wide.abs().max()):
                raise AssertionError("ours differs from float64")

    peer, why = w.compiled(plain, quick, x, weights)
    contestants = [Contestant(OURS, run), Contestant(PRECISE, lambda: run(True)),
                   Contestant(mlp.EAGER + ", mm", lambda: plain(x, weights)), *peer,
                   Contestant(PRODUCTS, products)]  # fmt: skip
    targets = [Target(mlp.EAGER + ", mm", mlp.TARGET)] if data.level == "avx512" else []
    n = 1 + weights[-1].shape[1] + y.shape[1]
    moved = x.nbytes + y.nbytes + sum(layer.nbytes for layer in weights) + 8 * n * n
    work = sum(len(x) * layer[1:].numel() for layer in weights) + len(x) * n * (n + 1) // 2  # multiply-adds
    return Race(OP, data.case, contestants, moved, check, PRODUCTS, targets, x.device, why, work)

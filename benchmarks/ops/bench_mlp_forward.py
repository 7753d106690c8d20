"""mlp_forward against torch.addmm and relu_, on all threads; the floor is the bare products by torch.mm."""

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from . import _mlp as mlp
from . import _weights as w

OP = "mlp_forward"
PRODUCTS = "the products alone, by torch.mm"


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for data in mlp.data(device, quick):
        yield _race(data, quick)


def _race(data: mlp.Data, quick: bool) -> Race:
    x, weights = data.x, data.weights

    def products() -> Tensor:
        z = x
        for layer in weights:
            z = torch.mm(z, layer[1:])
        return z

    def check() -> None:
        some = slice(0, 500)
        wide = mlp.plain(x[some].double(), [layer.double() for layer in weights])
        if float((ops.mlp_forward(x, weights, "relu")[some] - wide).abs().max()) > 1e-4:
            raise AssertionError("ours differs from float64")

    peer, why = w.compiled(mlp.plain, quick, x, weights)
    contestants = [Contestant(OURS, lambda: ops.mlp_forward(x, weights, "relu")),
                   Contestant(mlp.EAGER, lambda: mlp.plain(x, weights)), *peer,
                   Contestant(PRODUCTS, products)]  # fmt: skip
    targets = [Target(mlp.EAGER, mlp.TARGET)] if data.level == "avx512" else []
    moved = x.nbytes + sum(layer.nbytes for layer in weights) + 4 * len(x) * weights[-1].shape[1]
    work = sum(len(x) * layer[1:].numel() for layer in weights)  # multiply-adds
    return Race(OP, data.case, contestants, moved, check, PRODUCTS, targets, x.device, why, work)

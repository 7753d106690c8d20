"""redundancy_depth, which answers for every k, against searches for 100 neighbours.

The floor is the whole matrix product by torch.mm, half of which is needed: ours may be below it.
"""

from collections.abc import Iterator

import torch

from effdl_fast import ops
from effdl_fast.data import load_stored
from effdl_fast.errors import UserError

from ..harness import OURS, Contestant, Race, Target
from ..peers import neighbours as peers
from . import _neighbours as nb

OP = "redundancy_depth"
K = 100
BFLOAT16 = "ours, without bfloat16"
TENTH = "a tenth of the whole matrix product by torch.mm"
SPEEDUPS = {16: 5.0, 32: 5.0, 128: 3.0, 512: 1.7, 784: 1.7}  # over faiss
CUDA_SPEEDUP = 4.0  # over torch.cdist + topk


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    n = 2000 if quick else 20_000
    for d, speedup in SPEEDUPS.items():
        for classes in (10, 100):
            if classes == 100 and d != 512:
                continue
            yield _race(nb.data(n, d, classes, 0.4, device), 1.6 if classes == 100 else speedup, device)
            if quick:
                return
    if device.type == "cuda":
        yield _race(nb.data(60_000, 784, 10, 0.4, device), CUDA_SPEEDUP, device)
    else:
        yield from _fashion_mnist(device)


def _race(data: nb.Data, speedup: float, device: torch.device) -> Race:
    x, y = data.x, data.y

    def run() -> torch.Tensor:
        return ops.redundancy_depth(x, y)

    others, skipped = nb.contestants(data, min(K, len(x) // 20), device)
    target = [Target(nb.EAGER if device.type == "cuda" else nb.FAISS, speedup)]
    check = nb.check(lambda: run() >= 20, data, 20, device)
    return Race(OP, data.name, [Contestant(OURS, run), *others], x.nbytes, check, nb.PRODUCT, target, device, skipped)


def _fashion_mnist(device: torch.device) -> Iterator[Race]:
    """All of it, as float32 and as the bytes it is stored in, against a tenth of its matrix product."""
    try:
        stored = load_stored("fashion-mnist")
    except UserError:
        return
    pixels, y = torch.from_numpy(stored.x).flatten(1), torch.from_numpy(stored.y)
    x = pixels.float()
    contestants = [
        Contestant(OURS, lambda: ops.redundancy_depth(x, y)),
        Contestant("ours, of uint8", lambda: ops.redundancy_depth(pixels, y)),
        Contestant(TENTH, lambda: peers.product(x, len(x) // 10)),
    ]

    def check() -> None:
        if not torch.equal(ops.redundancy_depth(x, y), ops.redundancy_depth(pixels, y)):
            raise AssertionError("Fashion-MNIST: float32 and uint8 disagree")

    targets = [Target(TENTH, 0.1 / 0.6)]  # at most 0.6 of the time of the whole product
    yield Race(OP, f"Fashion-MNIST, {len(x):,} x 784", contestants, x.nbytes, check, TENTH, targets, device)

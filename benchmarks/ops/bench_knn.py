"""knn of all points among themselves against faiss and torch.cdist + topk."""

from collections.abc import Iterator

import torch

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from ..peers import neighbours as peers
from . import _neighbours as nb

OP = "knn"


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    n = 2000 if quick else 20_000
    for d in (16, 128, 784):
        for k in (20, 100):
            yield _race(nb.data(n, d, 10, 0.4, device), k, device)
            if quick:
                return


def _race(data: nb.Data, k: int, device: torch.device) -> Race:
    x = data.x

    def run() -> ops.Neighbours:
        return ops.knn(x, x, k, exclude_self=True)

    def check() -> None:
        some = torch.arange(0, len(x), max(1, len(x) // 100), device=device)
        distance = torch.cdist(x[some].double(), x.double())
        distance[torch.arange(len(some), device=device), some] = torch.inf
        if not torch.equal(run().indices[some], distance.topk(k, dim=1, largest=False).indices):
            raise AssertionError(f"{data.name}: ours and float64 distances disagree")

    contestants = [Contestant(OURS, run), Contestant(nb.EAGER, lambda: peers.nearest(x, k))]
    skipped, targets = [], []
    if device.type == "cuda":
        skipped.append(f"{nb.FAISS}: CPU only")
    elif peers.has("faiss"):
        contestants.append(Contestant(nb.FAISS, peers.faiss_nearest(x, k)))
        targets.append(Target(nb.FAISS, 1.0))
    else:
        skipped.append(f"{nb.FAISS}: pip install faiss-cpu")
    contestants.append(Contestant(nb.PRODUCT, lambda: peers.product(x)))
    case = data.name.rsplit(",", 2)[0] + f", k = {k}"
    return Race(OP, case, contestants, x.nbytes, check, nb.PRODUCT, targets, device, skipped)

"""What the races of the ops on neighbours share: data with a given share of redundant samples, and contestants."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..harness import Contestant
from ..peers import neighbours as peers

FAISS, EAGER, COMPILED = "faiss IndexFlatL2", "torch.cdist + topk", "torch.compile of torch.cdist + topk"
PRODUCT = "the whole matrix product by torch.mm"
SKLEARN, IMBLEARN = "scikit-learn NearestNeighbors, brute", "imbalanced-learn EditedNearestNeighbours"


@dataclass
class Data:
    name: str
    x: Tensor
    y: Tensor


def data(n: int, d: int, classes: int, share: float, device: torch.device) -> Data:
    """Gaussian points. About `share` of them lie in a cloud of their class, the others in one cloud of all classes."""
    g = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (n,), generator=g)
    centres = 3 * torch.randn(classes, d, generator=g)
    apart = torch.rand(n, 1, generator=g) < share
    x = torch.randn(n, d, generator=g) + centres[y] * apart
    name = f"{n:,} x {d}, {classes} classes, {share:.0%} redundant"
    return Data(name, x.to(device), y.to(device))


def contestants(data: Data, k: int, device: torch.device) -> tuple[list[Contestant], list[str]]:
    """The peers that find the redundant samples for k, the floor, and what cannot run here."""
    x, y = data.x, data.y
    found = [Contestant(EAGER, lambda: peers.redundant(x, y, k))]
    if device.type == "cuda" or len(x) <= 5000:  # compiled, it takes as long: its matrix product is that of eager
        compiled = torch.compile(peers.redundant, dynamic=False)
        found.append(Contestant(COMPILED, lambda: compiled(x, y, k)))
    skipped = []
    if device.type == "cuda":
        skipped.append(f"{FAISS}: CPU only")
    elif peers.has("faiss"):
        found.append(Contestant(FAISS, peers.faiss_redundant(x, y, k)))
    else:
        skipped.append(f"{FAISS}: pip install faiss-cpu")
    found.append(Contestant(PRODUCT, lambda: peers.product(x)))
    return found, skipped


def check(ours: Callable[[], Tensor], data: Data, k: int, device: torch.device) -> Callable[[], None]:
    """Ours against the neighbours of torch.cdist in float64, on some samples: float32 ones differ at near ties."""

    def run() -> None:
        some = torch.randperm(len(data.x), generator=torch.Generator().manual_seed(1))[:200].to(device)
        distance = torch.cdist(data.x[some].double(), data.x.double())
        distance[torch.arange(len(some), device=device), some] = torch.inf
        near = distance.topk(k, dim=1, largest=False).indices
        wanted = (data.y[near] == data.y[some, None]).all(dim=1)
        if not torch.equal(ours()[some], wanted):
            raise AssertionError(f"{data.name}: ours and float64 distances disagree")

    return run

"""k_redundant for k = 20 against searches for 20 neighbours, whatever the share of redundant samples."""

from collections.abc import Iterator

import torch

from effdl_fast import _C, ops

from ..harness import OURS, Contestant, Race, Target
from ..peers import neighbours as peers
from . import _neighbours as nb

OP = "k_redundant"
K = 20
WIDE = 2.5 if _C.build_info()["simd_levels"][-1] == "avx512" else 1.7  # over faiss; the former is asked with bfloat16
SPEEDUPS = {16: 4.0, 32: 4.0, 128: 3.0, 512: WIDE, 784: WIDE}
SHARES = (0.0, 0.4, 0.95)
CUDA_SPEEDUP = 4.0  # over torch.cdist + topk


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    n = 2000 if quick else 20_000
    for d, speedup in SPEEDUPS.items():
        for share in SHARES if d >= 512 else SHARES[1:2]:
            yield _race(nb.data(n, d, 10, share, device), speedup, device)
            if quick:
                return
    yield _race(nb.data(n, 512, 100, 0.4, device), 1.6, device)
    if device.type == "cuda":
        yield _race(nb.data(60_000, 784, 10, 0.4, device), CUDA_SPEEDUP, device)
    else:
        yield _race(nb.data(5000, 32, 10, 0.4, device), 4.0, device, slow=True)


def _race(data: nb.Data, speedup: float, device: torch.device, slow: bool = False) -> Race:
    x, y = data.x, data.y

    def run() -> torch.Tensor:
        return ops.k_redundant(x, y, K)

    others, skipped = nb.contestants(data, K, device)
    if slow:  # peers that take seconds
        for name, package, make in (
            (nb.SKLEARN, "sklearn", lambda: peers.sklearn_nearest(x, K)),
            (nb.IMBLEARN, "imblearn", lambda: peers.imblearn_redundant(x, y, K)),
        ):
            if peers.has(package):
                others.append(Contestant(name, make()))
            else:
                skipped.append(f"{name}: not installed")
    target = [Target(nb.EAGER if device.type == "cuda" else nb.FAISS, speedup)]
    check = nb.check(run, data, K, device)
    return Race(OP, data.name, [Contestant(OURS, run), *others], x.nbytes, check, nb.PRODUCT, target, device, skipped)

"""entropy of a sample, with the range of all elements, against what one writes in PyTorch; the floor is one read."""

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "entropy"
BITS, SAMPLE = 4, 0.03  # the thesis's M and F


def plain(x: Tensor) -> Tensor:
    """Of every 33rd element."""
    lo, hi = x.aminmax()
    codes = ((x[::33] - lo) * (2**BITS / (hi - lo))).clamp(0, 2**BITS - 1).to(torch.int32)
    counts = torch.bincount(codes, minlength=2**BITS).double()
    p = counts / counts.sum()
    return -torch.xlogy(p, p).sum() / torch.log(torch.tensor(2.0))


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for weights in w.weights(device, quick):
        for level in w.levels(device)[: 1 if quick else None]:
            with w.one_core(device, level):
                yield _race(f"{weights.name} {level}", weights.x, quick, weights.skipped)
        if quick:
            return


def _race(case: str, x: Tensor, quick: bool, skipped: list[str]) -> Race:
    def check() -> None:
        found = [f(x, generator=torch.Generator().manual_seed(0)) for f in (ops.entropy, ops.entropy_ref)]
        torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=0)

    peer, why = w.compiled(plain, quick, x)
    contestants = [Contestant(OURS, lambda: ops.entropy(x, BITS, SAMPLE)), Contestant(w.EAGER, lambda: plain(x)), *peer,
                   w.read(x)]  # fmt: skip
    return Race(OP, case, contestants, x.nbytes, check, w.READ, [Target(w.EAGER, 1.0)], x.device, [*skipped, *why],
                x.numel())  # fmt: skip

"""quantize against what one writes in PyTorch, eager and compiled; the floor is a copy of the weights."""

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "quantize"


def plain(x: Tensor, bits: int) -> Tensor:
    lo, hi = x.aminmax()
    codes = ((x - lo) * (2**bits / (hi - lo))).clamp(0, 2**bits - 1)
    return codes.to(torch.uint8) if bits <= 8 else codes.to(torch.int32).to(torch.uint16)


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for weights in w.weights(device, quick):
        x = weights.x
        for bits in (8, 10):
            for level in w.levels(device)[: 1 if quick else None]:
                with w.one_core(device, level):
                    yield _race(f"{weights.name}, {bits} bits {level}", x, bits, quick, weights.skipped)
        if quick:
            return


def _race(case: str, x: Tensor, bits: int, quick: bool, skipped: list[str]) -> Race:
    def check() -> None:
        w.assert_equal(ops.quantize(x, bits).codes, ops.quantize_ref(x, bits).codes)

    peer, why = w.compiled(plain, quick, x, bits)
    contestants = [Contestant(OURS, lambda: ops.quantize(x, bits)), Contestant(w.EAGER, lambda: plain(x, bits)), *peer,
                   w.copy(x)]  # fmt: skip
    moved = 2 * x.nbytes + x.numel() * (1 if bits <= 8 else 2)  # the range first, then the codes
    return Race(OP, case, contestants, moved, check, w.COPY, [Target(w.EAGER, 2.0)], x.device, [*skipped, *why],
                x.numel())  # fmt: skip

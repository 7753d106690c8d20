"""histogram against torch.bincount; the floor is one read of the codes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "histogram"
BINCOUNT = "torch.bincount"


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for weights in w.weights(device, quick):
        for bits in (8, 10, 16):
            codes = ops.quantize(weights.x, bits).codes
            for level in w.levels(device)[: 1 if quick else None]:
                with w.one_core(device, level):
                    yield _race(f"{weights.name}, {bits} bits {level}", codes, bits, weights.skipped)
        if quick:
            return


def _race(case: str, codes: Tensor, bits: int, skipped: list[str]) -> Race:
    # bincount does not take uint16.
    def plain() -> Tensor:
        return torch.bincount(codes if bits <= 8 else codes.to(torch.int32), minlength=1 << bits)

    def check() -> None:
        w.assert_equal(ops.histogram(codes, 1 << bits), plain())

    contestants = [
        Contestant(OURS, lambda: ops.histogram(codes, 1 << bits)),
        Contestant(BINCOUNT, plain),
        w.read(codes),
    ]
    return Race(OP, case, contestants, codes.nbytes, check, w.READ, [Target(BINCOUNT, 1.0)], codes.device,
                [*skipped, f"{w.COMPILED}: leaves bincount as it is"], codes.numel())  # fmt: skip

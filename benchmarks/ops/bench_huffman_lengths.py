"""huffman_lengths against the same in Python, with a heap and without a limit, and against the reference."""

import heapq
from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "huffman_lengths"
HEAP, REF = "heapq, no limit", "reference"


def heap(counts: Tensor) -> list[int]:
    """Lengths as one writes them in Python: joins the two rarest until one is left."""
    waiting = [(count, [symbol]) for symbol, count in enumerate(counts.tolist()) if count]
    lengths = [0] * counts.numel()
    heapq.heapify(waiting)
    while len(waiting) > 1:
        (a, first), (b, second) = heapq.heappop(waiting), heapq.heappop(waiting)
        for symbol in first + second:
            lengths[symbol] += 1
        heapq.heappush(waiting, (a + b, first + second))
    return lengths


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    x = w.gaussian(1 << 20, device)
    for bits in (8, 10) if quick else (8, 10, 12, 16):
        counts = ops.histogram(ops.quantize(x, bits).codes, 1 << bits)
        for limit, name in ((None, "limit as in records"), (max(1, int((counts > 0).sum()) - 1).bit_length(), "tight")):
            if name != "tight" or not quick:
                with w.one_core(device):
                    yield _race(f"{1 << bits} bins, {name}", counts, limit)


def _race(case: str, counts: Tensor, limit: int | None) -> Race:
    on_cpu = counts.cpu()

    def check() -> None:
        w.assert_equal(ops.huffman_lengths(counts, limit), ops.huffman_lengths_ref(counts, limit))

    contestants = [
        Contestant(OURS, lambda: ops.huffman_lengths(counts, limit)),
        Contestant(HEAP, lambda: heap(on_cpu)),
        Contestant(REF, lambda: ops.huffman_lengths_ref(on_cpu, limit)),
        w.read(counts),
    ]
    return Race(OP, case, contestants, counts.nbytes + counts.numel(), check, w.READ,
                [Target(HEAP, 10.0), Target(REF, 20.0)], counts.device, [f"{w.COMPILED}: a loop over the symbols"],
                counts.numel())  # fmt: skip

"""pack_bits against bit twiddling in PyTorch, eager and compiled; the floor is one read of the codes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "pack_bits"
BITS = (3, 8, 10)


def plain(codes: Tensor, bits: int) -> Tensor:
    """For a multiple of 8 codes."""
    one_by_one = (codes.to(torch.int32)[:, None] >> torch.arange(bits, device=codes.device)) & 1
    return (one_by_one.view(-1, 8) << torch.arange(8, device=codes.device)).sum(1).to(torch.uint8)


def codes_of(bits: int, device: torch.device, quick: bool) -> Tensor:
    """A quarter of a large tensor: plain PyTorch needs hundreds of bytes for a code."""
    return ops.quantize(w.gaussian(w.size(device, quick) // 4, device), bits).codes


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for bits in BITS:
        codes = codes_of(bits, device, quick)
        with w.one_core(device):
            yield _race(f"{codes.numel() >> 10}k codes of {bits} bits", codes, bits, quick)


def _race(case: str, codes: Tensor, bits: int, quick: bool) -> Race:
    def check() -> None:
        packed = ops.pack_bits(codes, bits)
        w.assert_equal(packed, plain(codes, bits))
        w.assert_equal(packed[: bits << 10], ops.pack_bits_ref(codes[: 8 << 10], bits))

    peer, why = w.compiled(plain, quick, codes, bits)
    contestants = [
        Contestant(OURS, lambda: ops.pack_bits(codes, bits)),
        Contestant(w.EAGER, lambda: plain(codes, bits)),
        *peer,
        w.read(codes),
    ]
    return Race(OP, case, contestants, codes.nbytes + codes.numel() * bits // 8, check, w.READ, [Target(w.EAGER, 20.0)],
                codes.device, why, codes.numel())  # fmt: skip

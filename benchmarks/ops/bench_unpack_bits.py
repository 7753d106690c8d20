"""unpack_bits against bit twiddling in PyTorch, eager and compiled; the floor is one write of the codes."""

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w
from .bench_pack_bits import BITS, codes_of

OP = "unpack_bits"


def plain(packed: Tensor, bits: int) -> Tensor:
    one_by_one = (packed.to(torch.int32)[:, None] >> torch.arange(8, device=packed.device)) & 1
    codes = (one_by_one.view(-1, bits) << torch.arange(bits, device=packed.device)).sum(1).to(torch.int32)
    return codes.to(torch.uint8 if bits <= 8 else torch.uint16)


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for bits in BITS:
        codes = codes_of(bits, device, quick)
        with w.one_core(device):
            yield _race(f"{codes.numel() >> 10}k codes of {bits} bits", codes, bits, quick)


def _race(case: str, codes: Tensor, bits: int, quick: bool) -> Race:
    packed, n = ops.pack_bits(codes, bits), codes.numel()

    def check() -> None:
        w.assert_equal(ops.unpack_bits(packed, bits, n), codes)
        w.assert_equal(plain(packed, bits), codes)

    peer, why = w.compiled(plain, quick, packed, bits)
    contestants = [Contestant(OURS, lambda: ops.unpack_bits(packed, bits, n)),
                   Contestant(w.EAGER, lambda: plain(packed, bits)), *peer, w.write(codes)]  # fmt: skip
    return Race(OP, case, contestants, codes.nbytes + packed.nbytes, check, w.WRITE, [Target(w.EAGER, 20.0)],
                codes.device, why, n)  # fmt: skip

"""dequantize against what one writes in PyTorch, eager and compiled; the floor is one write of the weights."""

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import _C, ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "dequantize"


def plain(codes: Tensor, lo: Tensor, step: Tensor, dtype: torch.dtype) -> Tensor:
    return (lo + (codes.to(torch.float32) + 0.5) * step).to(dtype)


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    x = w.gaussian(w.size(device, quick), device)
    for bits in (8, 10):
        q = ops.quantize(x, bits)
        for dtype in (torch.float32, torch.bfloat16)[: 1 if quick else None]:
            for level in w.levels(device)[: 1 if quick else None]:
                with w.one_core(device, level):
                    yield _race(f"{4 * x.numel() >> 20} MB Gaussian, {bits} bits to {str(dtype)[6:]} {level}", q, dtype,
                                quick)  # fmt: skip


def _race(case: str, q: ops.Quantized, dtype: torch.dtype, quick: bool) -> Race:
    step = (q.hi - q.lo) / 2**q.bits

    def check() -> None:
        w.assert_equal(ops.dequantize(q, dtype), ops.dequantize_ref(q, dtype))

    peer, why = w.compiled(plain, quick, q.codes, q.lo, step, dtype)
    values = ops.dequantize(q, dtype)
    contestants = [Contestant(OURS, lambda: ops.dequantize(q, dtype))]
    if not values.is_cuda:
        ends = torch.stack((q.lo, q.hi))
        contestants.append(Contestant(w.BUFFER, lambda: _C.dequantize(q.codes, values, ends, q.bits)))
    contestants += [Contestant(w.EAGER, lambda: plain(q.codes, q.lo, step, dtype)), *peer, w.write(values)]
    return Race(OP, case, contestants, q.codes.nbytes + values.nbytes, check, w.WRITE, [Target(w.EAGER, 1.0)],
                q.codes.device, why, q.codes.numel())  # fmt: skip

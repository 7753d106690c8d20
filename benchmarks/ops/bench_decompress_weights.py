"""A record to weights: large and small tensors, against Huff0 and zstd, which only give 8-bit codes, and plain PyTorch.

The floor is one write of the weights.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "decompress_weights"
WANTED_SMALL = "wanted: less than 30 us"
WANTED_CUDA = "wanted of an H100: 1.0e12 bytes of float32 per second, 250e9 weights/s"
# How many times as fast as Huff0, which decodes 8 bits, by SIMD level and bits.
RATIOS = {("avx512", 8): 1.2, ("avx512", 10): 1.0, ("avx2", 8): 0.9, ("avx2", 10): 0.9}


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for weights in w.weights(device, quick):
        peers = w.coders(ops.quantize(weights.x, 8).codes)
        for bits in (8, 10):
            record = ops.compress_weights(weights.x, bits=bits)
            for dtype in (torch.float32, torch.bfloat16)[: 1 if quick else None]:
                for level in w.levels(device):
                    with w.one_core(device, level):
                        yield _whole(weights, record, bits, dtype, level, peers)
        if quick:
            break
        with w.one_core(device):
            yield _whole(weights, ops.compress_weights(weights.x, bits=4, codec="rans"), 4, torch.float32, "", peers)
    x = w.gaussian(w.size(device, quick), device)
    for bits in (8, 10):
        record, out = ops.compress_weights(x, bits=bits), torch.empty_like(x)
        yield from w.two_threads(OP, f"{4 * x.numel() >> 20} MB Gaussian, {bits} bits",
                                 lambda r=record, o=out: ops.decompress_weights(r, out=o), x.nbytes + record.numel(),
                                 x.numel(), lambda r=record: ops.decompress_weights(r), device)  # fmt: skip
    with w.one_core(device):
        for n in w.SMALL[:: 2 if quick else 1]:
            yield _plain(f"{n} Gaussian", ops.compress_weights(x[:n]), [WANTED_SMALL])
        few = x[: 1 << 20]
        yield _plain(f"{few.numel() >> 10}k Gaussian, 8 bits", ops.compress_weights(few, bits=8), [])


def _whole(weights: w.Weights, record: Tensor, bits: int, dtype: torch.dtype, level: str, peers: w.Coders) -> Race:
    n = weights.x.numel()
    out = torch.empty(n, dtype=dtype, device=record.device)

    def check() -> None:
        values = ops.decompress_weights(record, out=out).float()
        half_step = float(weights.x.max() - weights.x.min()) / 2 ** (bits + 1)
        rounding = float(weights.x.abs().max()) * torch.finfo(dtype).eps
        error = float((values - weights.x).abs().max())
        if error > 1.001 * half_step + rounding:
            raise AssertionError(f"an error of {error}, half a step is {half_step}")

    contestants = [Contestant(OURS, lambda: ops.decompress_weights(record, out=out))]
    if not record.is_cuda and dtype is torch.float32:
        contestants.append(Contestant(w.NEW, lambda: ops.decompress_weights(record)))
    contestants += [*peers.contestants("decompress"), w.write(out)]
    ratio = RATIOS.get((level, bits)) if dtype is torch.float32 else None
    codec = "rans" if int(record[5]) == 4 else "huffman"
    return Race(OP, f"{weights.name}, {bits} bits, {codec}, to {str(dtype)[6:]} {level}", contestants,
                record.numel() + out.nbytes, check, w.WRITE, peers.targets("decompress", ratio) if ratio else (),
                record.device, [*weights.skipped, *peers.skipped], n,
                [WANTED_CUDA] if record.is_cuda else [])  # fmt: skip


def _plain(case: str, record: Tensor, notes: list[str]) -> Race:
    values = ops.decompress_weights_ref(record)
    out: dict[str, Any] = {"out": torch.empty_like(values)}

    def check() -> None:
        w.assert_equal(ops.decompress_weights(record), values)

    contestants = [Contestant(OURS, lambda: ops.decompress_weights(record, **out)),
                   Contestant(w.EAGER, lambda: ops.decompress_weights_ref(record, **out)), w.write(values)]  # fmt: skip
    return Race(OP, case, contestants, record.numel() + values.nbytes, check, w.WRITE, [Target(w.EAGER, 20.0)],
                record.device, [w.NO_LOOP], values.numel(), notes)  # fmt: skip

"""The quantizer and the sampling of docs/format.md in plain PyTorch, for the reference implementations."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from effdl_fast.ops._weights import code_dtype

_MASK64 = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
RUN = 16  # neighbours that are sampled together
FEWEST = 1024  # elements that a sample has at least


class Grid(NamedTuple):
    """The quantizer's steps: 0-d tensors of the dtype that it computes in."""

    lo: Tensor
    step: Tensor
    inv_step: Tensor


def grid(op: str, lo: Tensor, hi: Tensor, bits: int) -> Grid:
    """The grid of a finite range lo <= hi, 0-d float32 or float64 tensors.

    A range that float32 cannot divide is divided in float64; one that float64 cannot divide is a ValueError.
    """
    span = hi - lo
    levels = torch.full_like(span, 2.0**bits)
    step = span / levels
    if bool(lo == hi):
        return Grid(lo, step, torch.zeros_like(step))
    if not bool(span.isfinite()) or float(step) < torch.finfo(step.dtype).smallest_normal:
        if lo.dtype is torch.float64:
            raise ValueError(f"{op}: the range from {float(lo)} to {float(hi)} cannot be divided into 2^{bits} steps")
        return grid(op, lo.double(), hi.double(), bits)
    return Grid(lo, step, levels / span)


def codes_of(x: Tensor, g: Grid, bits: int) -> Tensor:
    """The codes of finite x, in x's shape. Each operation is rounded by itself."""
    # Outside of a given range x - lo may overflow; infinity times an inv_step of 0 is code 0.
    scaled = torch.floor((x.to(g.lo.dtype) - g.lo) * g.inv_step).nan_to_num(0.0, math.inf, -math.inf)
    return scaled.clamp(0, 2**bits - 1).to(torch.int32).to(code_dtype(bits))


def values_of(codes: Tensor, g: Grid, dtype: torch.dtype) -> Tensor:
    values = g.lo + (codes.to(torch.int32).to(g.lo.dtype) + 0.5) * g.step
    if dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    return values.to(dtype)


def min_max(op: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """The range of x as 0-d tensors, -0 as 0; ValueError if an element is not finite. (0, 0) if x is empty."""
    wide = x.to(torch.float64 if x.dtype is torch.float64 else torch.float32)
    if x.numel() == 0:
        return wide.new_zeros(()), wide.new_zeros(())
    finite(op, wide)
    return wide.min() + 0.0, wide.max() + 0.0


def finite(op: str, x: Tensor) -> None:
    if not bool(x.isfinite().all()):
        raise ValueError(f"{op}: x must be finite, but has NaN or infinite elements")


def splitmix64(z: Tensor) -> Tensor:
    """The finaliser of splitmix64 on int64 tensors that stand for uint64."""

    def shifted(z: Tensor, by: int) -> Tensor:  # a shift of int64 brings in the sign
        return (z >> by) & ((1 << (64 - by)) - 1)

    z = (z ^ shifted(z, 30)) * signed64(0xBF58476D1CE4E5B9)
    z = (z ^ shifted(z, 27)) * signed64(0x94D049BB133111EB)
    return z ^ shifted(z, 31)


def signed64(value: int) -> int:
    """The int64 with the bits of value modulo 2^64."""
    value &= _MASK64
    return value - (1 << 64) if value >> 63 else value


def sampled(x: Tensor, sample: float, seed: int) -> Tensor:
    """The elements of flat x that the entropy estimate looks at."""
    n = x.shape[0]
    wanted = min(n, max(math.ceil(sample * n), FEWEST))
    runs = -(-wanted // RUN)
    if wanted == n or n < 2 * RUN or RUN * runs > n:
        return x
    j = torch.arange(runs, device=x.device)
    start, end = j * n // runs, (j + 1) * n // runs
    drawn = splitmix64((j + 1) * signed64(_GOLDEN) + signed64(seed))
    h = (drawn >> 1) & ((1 << 63) - 1)
    first = start + h % (end - start - (RUN - 1))
    return x[(first[:, None] + torch.arange(RUN, device=x.device)).reshape(-1)]


def entropy_of(counts: Tensor) -> Tensor:
    """Bits per symbol, float64, of a histogram; 0 if it is empty."""
    used = counts[counts > 0].double()
    if used.numel() == 0:
        return used.new_zeros(())
    p = used / used.sum()
    return -(p * p.log2()).sum() + 0.0

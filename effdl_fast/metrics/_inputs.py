"""Checks and views of representations and labels that the metrics share.

None of the metrics is differentiable: what requires grad is read as a constant.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from effdl_fast.metrics.filtering import Generator, as_tensor
from effdl_fast.ops._arguments import FLOATS, dense, dtype_name, integer
from effdl_fast.ops._neighbours import LABELS

BLOCK = 4 << 20  # elements of a block that is widened to float64: 32 MiB


def matrix(op: str, name: str, x: Any) -> Tensor:
    """x as (samples, features): all dimensions after the first are flattened, one dimension is one feature."""
    x = as_tensor(op, name, x)
    dense(op, name, x)
    if x.dtype not in FLOATS and x.dtype is not torch.uint8:
        raise TypeError(f"{op}: {name} must be float32, float64, float16, bfloat16 or uint8, got {dtype_name(x.dtype)}")
    if x.dim() == 0:
        raise ValueError(f"{op}: {name} must have samples in its first dimension, got a scalar")
    return x[:, None] if x.dim() == 1 else x.flatten(1)


def samples(op: str, name: str, x: Any) -> Tensor:
    """`matrix` with one sample at least and finite values."""
    flat = matrix(op, name, x)
    if flat.shape[0] == 0:
        raise ValueError(f"{op}: {name} has no samples")
    check_finite(op, name, flat)
    return flat


def check_finite(op: str, name: str, x: Tensor) -> None:
    """ValueError that names the first row with NaN or infinity, looking at a block of rows at a time."""
    if not x.is_floating_point() or x.shape[1] == 0:
        return
    for begin, end in blocks(*x.shape):
        finite = torch.isfinite(x[begin:end]).all(dim=1)
        if not bool(finite.all()):
            raise ValueError(
                f"{op}: row {begin + int(finite.logical_not().nonzero()[0])} of {name} holds NaN or infinity"
            )


def classes(op: str, labels: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct labels, ascending, and each sample's place among them (int64), on the device of x."""
    labels = as_tensor(op, "y", labels).to(x.device)
    if labels.dtype not in LABELS:
        raise TypeError(f"{op}: y must be integers, got {dtype_name(labels.dtype)}")
    if labels.dim() != 1 or len(labels) != len(x):
        raise ValueError(f"{op}: y must have shape ({len(x)},), one label for each sample, got {tuple(labels.shape)}")
    return torch.unique(labels, return_inverse=True)


def seeded(op: str, generator: Generator) -> torch.Generator | None:
    """A CPU generator, from one or from a seed; None stands for torch's default."""
    if generator is None:
        return None
    if isinstance(generator, torch.Generator):
        if generator.device.type != "cpu":
            raise ValueError(f"{op}: generator must be a CPU generator, got one of {generator.device}")
        return generator
    if isinstance(generator, bool) or not hasattr(generator, "__index__"):
        raise TypeError(f"{op}: generator must be a torch.Generator, a seed or None, got {type(generator).__name__}")
    return torch.Generator().manual_seed(integer(op, "generator, where it is a seed,", generator, 0, (1 << 63) - 1))


def blocks(rows: int, width: int, size: int = BLOCK) -> list[tuple[int, int]]:
    """Ranges of rows of `width` elements that hold about `size` elements each."""
    step = max(1, size // max(1, width))
    return [(begin, min(rows, begin + step)) for begin in range(0, rows, step)]


def entropy_bits(counts: Tensor) -> Tensor:
    """Shannon entropy in bits of distributions given by counts or weights >= 0 along the last dimension, float64.

    NaN where all of them are zero.
    """
    share = counts.double()
    share = share / share.sum(dim=-1, keepdim=True)
    return torch.special.entr(share).sum(dim=-1) / torch.log(torch.tensor(2.0, dtype=torch.float64))

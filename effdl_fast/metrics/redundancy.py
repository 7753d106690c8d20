"""The share of samples that say nothing about the decision boundary (thesis 5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from effdl_fast.metrics._inputs import classes, samples
from effdl_fast.metrics.filtering import Generator, redundancy_depths
from effdl_fast.ops._arguments import integer
from effdl_fast.ops._neighbours import check_metric

OP = "k_redundancy"


def k_redundancy(
    z: Any,
    y: Any,
    k: int | Sequence[int],
    *,
    metric: str = "l2",
    batch_size: int | None = None,
    generator: Generator = None,
    max_workspace: int | None = None,
) -> Tensor:
    """The k-redundancy of a representation: the share of samples that k-filtering removes (Definition 8, Figure 5.14).

    A sample is redundant if all of its k nearest neighbours belong to its own class. Any number of k costs one pass
    (`ops.redundancy_depth`).

    Args:
        z: (m, f), or (m, ...) which is flattened: float32, float64, float16, bfloat16 or uint8.
        y: (m,) class labels of any integer dtype or bool.
        k: 1 or more, or several.
        metric: "l2", "cosine" or "inner_product"; see `ops.redundancy_depth`.
        batch_size: None finds neighbours among all samples; a number in random mini-batches of about this size, as the
            thesis does: see `k_filter`. Values for different batch sizes do not compare.
        generator: of the mini-batches: a CPU generator, or the seed of one; None: torch's default.
        max_workspace: bytes of temporary memory of `ops.redundancy_depth`.

    Returns:
        float64 from 0 to 1 on the device of z: 0-d for one k, (len(k),) for several.

    Raises:
        ValueError: no samples, NaN or infinity (the message names the row), wrong shapes, an unknown metric, k < 1.
        TypeError: wrong types and dtypes.
    """
    several = (isinstance(k, Sequence) and not isinstance(k, str)) or (isinstance(k, Tensor) and k.dim() > 0)
    wanted = [integer(OP, "k", one, 1, (1 << 31) - 1) for one in (_list(k) if several else [k])]
    check_metric(OP, metric)
    z = samples(OP, "z", z)
    _, index = classes(OP, y, z)
    depth = redundancy_depths(z, index, batch_size, metric=metric, generator=generator, max_workspace=max_workspace)
    shares = (depth[:, None] >= torch.tensor(wanted, device=depth.device)).double().mean(dim=0)
    return shares if several else shares[0]


def _list(k: Any) -> list[Any]:
    return k.tolist() if isinstance(k, Tensor) else list(k)

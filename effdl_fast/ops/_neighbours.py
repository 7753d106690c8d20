"""What the ops on nearest neighbours share: checks of arguments, and the float64 distances of the references.

None of them is differentiable: an input that requires grad is read as a constant.

All of them decide by the same numbers. A distance is computed in float64 from the features as they are given; what is
faster (float32, bfloat16 or integer products) only rules out pairs for which a proven bound leaves no doubt.
"""

from typing import Any

import torch
from torch import Tensor

from effdl_fast.ops._arguments import FLOATS, dense, dtype_name, integer

METRICS = ("l2", "cosine", "inner_product")
LABELS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
          torch.bool)  # fmt: skip
DEFAULT_WORKSPACE = 48 << 20  # bytes
LEAST_WORKSPACE = 1 << 20


def check_points(op: str, name: str, x: Tensor) -> None:
    """Dense (n, d) of a dtype that features have."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{op}: {name} must be a torch.Tensor, got {type(x).__name__}")
    dense(op, name, x)
    if x.dtype not in FLOATS and x.dtype is not torch.uint8:
        raise TypeError(f"{op}: {name} must be float32, float64, float16, bfloat16 or uint8, got {dtype_name(x.dtype)}")
    if x.dim() != 2:
        raise ValueError(f"{op}: {name} must have two dimensions (samples, features), got shape {tuple(x.shape)}")


def check_labels(op: str, labels: Any, features: Tensor) -> None:
    if not isinstance(labels, Tensor):
        raise TypeError(f"{op}: labels must be a torch.Tensor, got {type(labels).__name__}")
    dense(op, "labels", labels)
    if labels.dtype not in LABELS:
        raise TypeError(f"{op}: labels must be integers, got {dtype_name(labels.dtype)}")
    if labels.dim() != 1 or labels.shape[0] != features.shape[0]:
        raise ValueError(
            f"{op}: labels must have shape ({features.shape[0]},), one for each row of features, "
            f"got {tuple(labels.shape)}"
        )
    if labels.device != features.device:
        raise ValueError(f"{op}: labels must be on the device of features, {features.device}, got {labels.device}")


def check_metric(op: str, metric: Any) -> str:
    if metric not in METRICS:
        raise ValueError(f"{op}: metric must be one of {', '.join(METRICS)}, got {metric!r}")
    return metric


def check_workspace(op: str, max_workspace: Any) -> int:
    if max_workspace is None:
        return DEFAULT_WORKSPACE
    return integer(op, "max_workspace", max_workspace, LEAST_WORKSPACE, 1 << 62)


def check_finite(op: str, name: str, x: Tensor) -> None:
    """For the references; the kernels look for themselves."""
    if x.is_floating_point() and not bool((finite := torch.isfinite(x).all(dim=1)).all()):
        raise ValueError(f"{op}: row {int(finite.logical_not().nonzero()[0])} of {name} holds NaN or infinity")


def rows_at_once(rows: int, others: Tensor, space: int) -> int:
    """How many rows a reference compares with all others in about `space` bytes."""
    return max(1, min(rows, space // (32 * max(1, others.numel()))))


def distances_ref(a: Tensor, b: Tensor, metric: str) -> Tensor:
    """float64 (rows of a, rows of b): what neighbours are ordered by, smallest first."""
    a, b = a.double(), b.double()
    if metric == "l2":
        return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")
    products = (a[:, None] * b).sum(dim=2)  # not a matrix product, which rounds equal rows in different ways
    if metric == "inner_product":
        return -products
    norms = a.square().sum(dim=1).sqrt()[:, None] * b.square().sum(dim=1).sqrt()
    return torch.where(norms > 0, -products / norms, 0.0)

"""Which samples the k-filter removes (thesis section 5.4)."""

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import integer, register
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._neighbours import check_labels, check_metric, check_points, check_workspace
from effdl_fast.ops._neighbours_cuda import redundancy_depth_cuda
from effdl_fast.ops.redundancy_depth import redundancy_depth_ref

OP = "k_redundant"
MOST = (1 << 31) - 1


def k_redundant(
    features: Tensor, labels: Tensor, k: int, *, metric: str = "l2", max_workspace: int | None = None
) -> Tensor:
    """Whether all of the k nearest neighbours of a sample share its label (thesis 5.4, the redundancy criterion).

    The same as `redundancy_depth(features, labels) >= k`, faster where many samples are not redundant.

    Args:
        features, labels, metric, max_workspace: as `redundancy_depth`.
        k: 1 to 2^31 - 1. With k or fewer samples of a class none of it is redundant.

    Returns:
        bool (n,).

    Raises:
        ValueError: NaN or infinity in features (the message names the row), wrong shapes, unknown metric, k < 1.
        TypeError: wrong dtypes.
    """
    way = route(OP, "features", features)
    if way == REFERENCE:
        return k_redundant_ref(features, labels, k, metric=metric, max_workspace=max_workspace)
    check_points(OP, "features", features)
    check_labels(OP, labels, features)
    k = integer(OP, "k", k, 1, MOST)
    check_metric(OP, metric)
    space = check_workspace(OP, max_workspace)
    if way == DISPATCHER:
        return torch.ops.effdl_fast.k_redundant(features, labels, k, metric, space)
    return _run(features, labels, k, metric, space)


def _run(features: Tensor, labels: Tensor, k: int, metric: str, space: int) -> Tensor:
    if features.is_cuda:
        return redundancy_depth_cuda(OP, features, labels, metric, space) >= k
    depth = torch.empty(features.shape[0], dtype=torch.int32)
    _C.redundancy_depth(features.resolve_neg().contiguous(), labels.long().contiguous(), depth, metric, space, k)
    return depth >= k


def _fake(features: Tensor, labels: Tensor, k: int, metric: str, space: int) -> Tensor:
    return torch.empty(features.shape[0], dtype=torch.bool, device=features.device)


register(
    OP, "(Tensor features, Tensor labels, int k, str metric, int max_workspace) -> Tensor", _run, _fake, waits=True
)


def k_redundant_ref(
    features: Tensor, labels: Tensor, k: int, *, metric: str = "l2", max_workspace: int | None = None
) -> Tensor:
    """`k_redundant` in plain PyTorch."""
    check_points(OP, "features", features)
    check_labels(OP, labels, features)
    k = integer(OP, "k", k, 1, MOST)
    return redundancy_depth_ref(features, labels, metric=metric, max_workspace=max_workspace) >= k

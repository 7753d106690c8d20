"""How deep each sample lies inside its class (thesis section 5.4)."""

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import register
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._neighbours import (
    check_finite,
    check_labels,
    check_metric,
    check_points,
    check_workspace,
    distances_ref,
    rows_at_once,
)
from effdl_fast.ops._neighbours_cuda import redundancy_depth_cuda

OP = "redundancy_depth"


def redundancy_depth(
    features: Tensor, labels: Tensor, *, metric: str = "l2", max_workspace: int | None = None
) -> Tensor:
    """The number of same-class samples that are strictly nearer than the nearest sample of any other class.

    Sample i is k-redundant, all of its k nearest neighbours share its label (thesis 5.4), exactly where depth[i] >= k:
    one call answers for every k. The sample itself does not count, a duplicate of it does. A tie between a sample of
    the class and one of another counts against. Where there is one class only, every depth is n - 1.

    The result is that of distances in float64 of the features as given, on every SIMD level, number of threads, device
    and workspace.

    On CUDA the host waits once for the device, at the beginning: the range of the features has to be known.

    Args:
        features: (n, d) float32, float64, float16, bfloat16 or uint8, any strides.
        labels: (n,) of any integer dtype or bool.
        metric: "l2"; "cosine", where a zero vector has similarity 0 to everything; "inner_product", largest nearest.
        max_workspace: bytes of temporary memory, 1 MiB at least; 48 MiB without it. About 50 bytes a sample come on
            top, and for each thread the words (4 bytes a feature) of up to 192 samples.

    Returns:
        int32 (n,).

    Raises:
        ValueError: NaN or infinity in features (the message names the row), wrong shapes, unknown metric.
        TypeError: wrong dtypes.
    """
    way = route(OP, "features", features)
    if way == REFERENCE:
        return redundancy_depth_ref(features, labels, metric=metric, max_workspace=max_workspace)
    check_points(OP, "features", features)
    check_labels(OP, labels, features)
    check_metric(OP, metric)
    space = check_workspace(OP, max_workspace)
    if way == DISPATCHER:
        return torch.ops.effdl_fast.redundancy_depth(features, labels, metric, space)
    return _run(features, labels, metric, space)


def _run(features: Tensor, labels: Tensor, metric: str, space: int) -> Tensor:
    if features.is_cuda:
        return redundancy_depth_cuda(OP, features, labels, metric, space)
    depth = torch.empty(features.shape[0], dtype=torch.int32)
    _C.redundancy_depth(features.resolve_neg().contiguous(), labels.long().contiguous(), depth, metric, space)
    return depth


def _fake(features: Tensor, labels: Tensor, metric: str, space: int) -> Tensor:
    return torch.empty(features.shape[0], dtype=torch.int32, device=features.device)


register(OP, "(Tensor features, Tensor labels, str metric, int max_workspace) -> Tensor", _run, _fake, waits=True)


def redundancy_depth_ref(
    features: Tensor, labels: Tensor, *, metric: str = "l2", max_workspace: int | None = None
) -> Tensor:
    """`redundancy_depth` in plain PyTorch, a block of rows at a time."""
    check_points(OP, "features", features)
    check_labels(OP, labels, features)
    check_metric(OP, metric)
    space = check_workspace(OP, max_workspace)
    check_finite(OP, "features", features)
    n, labels = features.shape[0], labels.long()
    depth = torch.empty(n, dtype=torch.int32, device=features.device)
    rows = rows_at_once(n, features, space)
    for begin in range(0, n, rows):
        end = min(n, begin + rows)
        distance = distances_ref(features[begin:end], features, metric)
        same = labels[begin:end, None] == labels
        enemy = distance.masked_fill(same, torch.inf).amin(dim=1, keepdim=True)
        nearer = same & (distance < enemy)
        index = torch.arange(begin, end, device=features.device)
        nearer[index - begin, index] = False
        depth[begin:end] = nearer.sum(dim=1)
    return depth

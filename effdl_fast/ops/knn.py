"""The exact k nearest neighbours (thesis section 5.4 runs them on large mini-batches)."""

from typing import NamedTuple

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import dtype_name, integer, register, same_device
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._neighbours import (
    check_finite,
    check_metric,
    check_points,
    check_workspace,
    distances_ref,
    rows_at_once,
)
from effdl_fast.ops._neighbours_cuda import knn_cuda

OP = "knn"


class Neighbours(NamedTuple):
    """Of each query, nearest first."""

    distances: Tensor  # (queries, k) float32; float64 for float64 features
    indices: Tensor  # (queries, k) int64, rows of keys


def knn(
    queries: Tensor,
    keys: Tensor,
    k: int,
    *,
    metric: str = "l2",
    exclude_self: bool = False,
    max_workspace: int | None = None,
) -> Neighbours:
    """The k nearest keys of each query, exactly; of keys at equal distance the one of lowest index comes first.

    Neighbours are chosen by distances in float64 of the points as given, on every SIMD level, number of threads, device
    and workspace.

    On CUDA the host waits once for the device, at the beginning: the range of the features has to be known.

    Args:
        queries: (m, d) float32, float64, float16, bfloat16 or uint8, any strides.
        keys: (n, d), the same dtype.
        k: 0 to n, or to n - 1 with exclude_self.
        metric: "l2", whose distance is Euclidean; "cosine", whose distance is 1 - similarity and where a zero vector
            has similarity 0; "inner_product", largest first, whose "distance" is the product itself.
        exclude_self: queries are the keys; row i is not a neighbour of itself. Duplicates of it are.
        max_workspace: bytes of temporary memory, 1 MiB at least; 48 MiB without it.

    Returns:
        Neighbours(distances, indices).

    Raises:
        ValueError: NaN or infinity (the message names the row), wrong shapes, k out of range, unknown metric.
        TypeError: wrong dtypes.
    """
    way = route(OP, "queries", queries)
    if way == REFERENCE:
        return knn_ref(queries, keys, k, metric=metric, exclude_self=exclude_self, max_workspace=max_workspace)
    k, space = _check(queries, keys, k, metric, exclude_self, max_workspace)
    if way == DISPATCHER:
        return Neighbours(*torch.ops.effdl_fast.knn(queries, keys, k, metric, exclude_self, space))
    return Neighbours(*_run(queries, keys, k, metric, exclude_self, space))


def _check(
    queries: Tensor, keys: Tensor, k: int, metric: str, exclude_self: bool, max_workspace: int | None
) -> tuple[int, int]:
    check_points(OP, "queries", queries)
    if not isinstance(keys, Tensor):
        raise TypeError(f"{OP}: keys must be a torch.Tensor, got {type(keys).__name__}")
    check_points(OP, "keys", keys)
    if keys.dtype is not queries.dtype:
        raise TypeError(f"{OP}: keys must be {dtype_name(queries.dtype)} as queries are, got {dtype_name(keys.dtype)}")
    same_device(OP, "keys", keys, "queries", queries)
    if keys.shape[1] != queries.shape[1]:
        raise ValueError(f"{OP}: keys must have {queries.shape[1]} features as queries have, got {keys.shape[1]}")
    if exclude_self and keys.shape != queries.shape:
        raise ValueError(
            f"{OP}: exclude_self needs as many keys as queries, got {tuple(keys.shape)} for {tuple(queries.shape)}"
        )
    check_metric(OP, metric)
    most = keys.shape[0] - bool(exclude_self and keys.shape[0])
    return integer(OP, "k", k, 0, most), check_workspace(OP, max_workspace)


def _distance_dtype(queries: Tensor) -> torch.dtype:
    return torch.float64 if queries.dtype is torch.float64 else torch.float32


def _run(queries: Tensor, keys: Tensor, k: int, metric: str, exclude_self: bool, space: int) -> tuple[Tensor, Tensor]:
    if queries.is_cuda:
        return knn_cuda(queries, keys, k, metric, exclude_self, space)
    distances = queries.new_empty((queries.shape[0], k), dtype=_distance_dtype(queries))
    indices = queries.new_empty((queries.shape[0], k), dtype=torch.int64)
    _C.knn(
        queries.resolve_neg().contiguous(),
        keys.resolve_neg().contiguous(),
        distances,
        indices,
        metric,
        exclude_self,
        space,
    )
    return distances, indices


def _fake(queries: Tensor, keys: Tensor, k: int, metric: str, exclude_self: bool, space: int) -> tuple[Tensor, Tensor]:
    shape = (queries.shape[0], k)
    return queries.new_empty(shape, dtype=_distance_dtype(queries)), queries.new_empty(shape, dtype=torch.int64)


register(
    OP,
    "(Tensor queries, Tensor keys, int k, str metric, bool exclude_self, int max_workspace) -> (Tensor, Tensor)",
    _run,
    _fake,
    waits=True,
)


def knn_ref(
    queries: Tensor,
    keys: Tensor,
    k: int,
    *,
    metric: str = "l2",
    exclude_self: bool = False,
    max_workspace: int | None = None,
) -> Neighbours:
    """`knn` in plain PyTorch: a stable sort of every row."""
    k, space = _check(queries, keys, k, metric, exclude_self, max_workspace)
    check_finite(OP, "queries", queries)
    check_finite(OP, "keys", keys)
    m = queries.shape[0]
    distances = queries.new_empty((m, k), dtype=_distance_dtype(queries))
    indices = queries.new_empty((m, k), dtype=torch.int64)
    rows = rows_at_once(m, keys, space)
    for begin in range(0, m, rows):
        end = min(m, begin + rows)
        distance = distances_ref(queries[begin:end], keys, metric)
        if exclude_self:
            index = torch.arange(begin, end, device=queries.device)
            distance[index - begin, index] = torch.inf
        values, order = distance.sort(dim=1, stable=True)
        indices[begin:end] = order[:, :k]
        values = values[:, :k]
        distances[begin:end] = {"l2": values, "cosine": 1 + values, "inner_product": -values}[metric]
    return Neighbours(distances, indices)

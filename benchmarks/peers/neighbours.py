"""What finds neighbours, and with them redundant samples: plain PyTorch, faiss, scikit-learn, imbalanced-learn.

faiss takes the environment's OPENBLAS_CORETYPE; on an AMD Zen 5 its own choice of kernel was half as fast.
"""

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

ROWS = 2048  # at a time, in plain PyTorch


def nearest(x: Tensor, k: int) -> Tensor:
    """Indices of the k nearest neighbours, itself excluded, by torch.cdist and topk."""
    parts = []
    for begin in range(0, len(x), ROWS):
        distance = torch.cdist(x[begin : begin + ROWS], x)
        index = torch.arange(len(distance), device=x.device)
        distance[index, index + begin] = torch.inf
        parts.append(distance.topk(k, dim=1, largest=False).indices)
    return torch.cat(parts)


def redundant(x: Tensor, y: Tensor, k: int) -> Tensor:
    return (y[nearest(x, k)] == y[:, None]).all(dim=1)


def product(x: Tensor, rows: int | None = None) -> None:
    """The matrix product of x (its first rows) and its transpose, a tile at a time: what every distance takes."""
    tile = torch.empty(ROWS, len(x), device=x.device)
    for begin in range(0, rows or len(x), ROWS):
        part = x[begin : min(begin + ROWS, rows or len(x))]
        torch.mm(part, x.T, out=tile[: len(part)])


def has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def faiss_nearest(x: Tensor, k: int) -> Callable[[], Tensor]:
    """The exact search of faiss for k neighbours and the sample itself."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    data = x.numpy()

    def run() -> Tensor:
        index = faiss.IndexFlatL2(data.shape[1])
        index.add(data)
        return torch.from_numpy(index.search(data, k + 1)[1][:, 1:])

    return run


def faiss_redundant(x: Tensor, y: Tensor, k: int) -> Callable[[], Tensor]:
    search = faiss_nearest(x, k)
    return lambda: (y[search()] == y[:, None]).all(dim=1)


def sklearn_nearest(x: Tensor, k: int) -> Callable[[], Any]:
    from sklearn.neighbors import NearestNeighbors

    data = x.numpy()
    return lambda: (
        NearestNeighbors(n_neighbors=k, algorithm="brute", n_jobs=torch.get_num_threads()).fit(data).kneighbors()
    )


def imblearn_redundant(x: Tensor, y: Tensor, k: int) -> Callable[[], Any]:
    from imblearn.under_sampling import EditedNearestNeighbours

    data, labels = x.numpy(), y.numpy()
    make = partial(EditedNearestNeighbours, n_neighbors=k, kind_sel="all", sampling_strategy="all")
    return lambda: make(n_jobs=torch.get_num_threads()).fit_resample(data, labels)

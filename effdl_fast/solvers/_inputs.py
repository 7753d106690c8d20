"""Samples in memory, or batches from a loader, as pairs of matrices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effdl_fast.solvers._targets import Targets


def matrix(x: Any, dtype: torch.dtype | None, device: torch.device | None) -> Tensor:
    """x as (m, d): all dimensions after the first are flattened.

    float32 and float64 stay; other floats and uint8 become float32, other numbers float64; unless dtype says so.
    """
    if isinstance(x, Tensor):
        x = x.detach()
        if x.layout is not torch.strided:
            raise TypeError(f"Sparse data was passed for X ({x.layout}), but dense data is required. Use '.to_dense()'")
        if x.is_complex():
            raise ValueError("Complex data not supported: X")
    else:
        x = _array(x)
    if x.dim() == 0:
        raise ValueError("X must have samples in its first dimension, got a scalar. Reshape your data")
    if x.dim() == 1:
        raise ValueError("Expected 2D array, got 1D array instead. Reshape your data with X[:, None] or X[None]")
    x = x.flatten(1)
    if dtype is None:
        narrow = x.dtype in (torch.float32, torch.float16, torch.bfloat16, torch.uint8)
        dtype = torch.float32 if narrow else torch.float64
    x = x.to(device, dtype)
    if x.shape[0] == 0 or x.shape[1] == 0:
        what = "sample" if x.shape[0] == 0 else "feature"
        raise ValueError(f"Found array with 0 {what}(s) (shape={tuple(x.shape)}) while a minimum of 1 is required.")
    check_finite(x)
    return x


def _array(x: Any) -> Tensor:
    if hasattr(x, "toarray") and hasattr(x, "nnz"):
        raise TypeError("Sparse data was passed for X, but dense data is required. Use '.toarray()' to convert.")
    array = np.asarray(x)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: X has dtype {array.dtype}")
    if array.dtype.kind in "SUMm":
        raise ValueError(f"X must hold numbers, got dtype {array.dtype}")
    if array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and array.dtype.itemsize > 8):
        array = array.astype(np.float64)
    if array.dtype.kind == "b" or (array.dtype.kind == "u" and array.dtype.itemsize > 1):
        array = array.astype(np.float64)
    array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False))
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def check_finite(x: Tensor) -> None:
    if bool(torch.isfinite(x.sum())):
        return
    for begin in range(0, len(x), 4096):
        finite = torch.isfinite(x[begin : begin + 4096]).all(dim=1)
        if not bool(finite.all()):
            raise ValueError(f"X contains NaN or infinity, in row {begin + int(finite.logical_not().nonzero()[0])}")


def is_loader(x: Any) -> bool:
    """Batches, no array: what can be gone through, and is no tensor, array, list of rows or table."""
    return isinstance(x, Iterable) and not (isinstance(x, Tensor | list | tuple) or hasattr(x, "__array__"))


class Arrays:
    """All samples at once."""

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y
        self.features: int | None = x.shape[1]
        self.device: torch.device | None = x.device

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        yield self.x, self.y


class Loader:
    """Batches (x, y) of a loader that can be gone through any number of times, such as a DataLoader."""

    def __init__(self, loader: Any, targets: Targets, dtype: torch.dtype | None, device: torch.device | None,
                 features: int | None = None) -> None:  # fmt: skip
        self.loader, self.targets, self.dtype, self.device = loader, targets, dtype, device
        self.features = features
        self.rows: int | None = None  # of the first pass

    def look(self) -> torch.dtype:
        """The dtype of its samples, by the first batch."""
        x, _ = next(iter(self.batches()))
        return x.dtype

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        rows = 0
        for x, y in pairs(self.loader):
            x = matrix(x, self.dtype, self.device)
            if self.features is None:
                self.features, self.dtype, self.device = x.shape[1], x.dtype, x.device
            if x.shape[1] != self.features:
                raise ValueError(f"X has {x.shape[1]} features, but the batches before had {self.features}")
            target = self.targets.encode(y, x.dtype, x.device)
            if len(target) != len(x):
                raise ValueError(f"a batch has {len(x)} samples but {len(target)} targets")
            rows += len(x)
            yield x, target
        if rows == 0:
            raise ValueError("the loader gave no samples")
        if self.rows is not None and rows != self.rows:
            raise ValueError(f"the loader gave {rows} samples, but {self.rows} in an earlier pass; every layer goes "
                             "through all of them")  # fmt: skip
        self.rows = rows


def pairs(loader: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(loader, Iterator):
        raise TypeError(
            "a loader must be one that can be gone through several times, such as a DataLoader, got an iterator"
        )
    for batch in loader:
        if isinstance(batch, list | tuple) and len(batch) > 1 and hasattr(batch[0], "__len__") and len(batch[0]) == 0:
            continue
        if not isinstance(batch, list | tuple) or len(batch) < 2:
            raise TypeError(f"a loader must give batches (X, y), got {type(batch).__name__}")
        yield batch[0], batch[1]


def targets_of(loader: Any, task: str) -> Targets:
    """What the y of a loader mean, by one pass over it."""
    first: Any = None
    seen: set[Any] = set()
    for _, y in pairs(loader):
        part = Targets.of(y, task)
        if part.classes is None and first is None:
            return part
        if part.classes is None:
            raise ValueError("y: some of the loader's batches hold labels, others values")
        seen.update(part.classes.tolist())
        first = part if first is None else first
    if first is None:
        raise ValueError("the loader gave no samples")
    return Targets.of(None, "classification", np.array(sorted(seen)))

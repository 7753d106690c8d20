"""Labels and values as the columns of Y, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from effdl_fast.solvers._conventions import warn_of_column

TASKS = ("auto", "classification", "regression")


class Targets:
    """What y means.

    Classes become one-hot columns; two classes one column, -1 and +1 (thesis 7.2.3 and 7.9.2). Values stay as they are.
    """

    def __init__(self, classes: np.ndarray | None, columns: int, flat: bool) -> None:
        self.classes = classes  # ascending; None for values
        self.columns = columns
        self.flat = flat  # values had one dimension

    @classmethod
    def of(cls, y: Any, task: str, classes: Any = None) -> Targets:
        """From all targets, or, with `classes`, without."""
        if classes is not None:
            found = np.unique(labels_of(classes))
            if task == "regression" or len(found) == 0:
                raise ValueError("classes must be the labels of a classifier, one at least")
            return cls(found, 1 if len(found) == 2 else len(found), True)
        if is_classification(y, task):
            found = np.unique(labels_of(y, warn=True))
            return cls(found, 1 if len(found) <= 2 else len(found), True)
        values = values_of(y)
        return cls(None, values.shape[1] if values.dim() == 2 else 1, values.dim() == 1)

    def encode(self, y: Any, dtype: torch.dtype, device: torch.device) -> Tensor:
        """(m, columns)"""
        if self.classes is None:
            values = values_of(y)
            values = values[:, None] if values.dim() == 1 else values
            if values.shape[1] != self.columns:
                raise ValueError(f"y must have {self.columns} columns as before, got {values.shape[1]}")
            values = values.to(device, dtype)
            finite = torch.isfinite(values).all(dim=1)
            if not bool(finite.all()):
                raise ValueError(f"y contains NaN or infinity, in row {int(finite.logical_not().nonzero()[0])}")
            return values
        index = self.index(y).to(device)
        if self.columns == 1:
            return (
                (2 * index - 1).to(dtype)[:, None]
                if len(self.classes) == 2
                else index.new_ones(len(index), 1).to(dtype)
            )
        return torch.nn.functional.one_hot(index, self.columns).to(dtype)

    def index(self, y: Any) -> Tensor:
        """Each label's place among the classes, int64 on the CPU."""
        assert self.classes is not None
        labels = labels_of(y)
        place = np.searchsorted(self.classes, labels).clip(max=len(self.classes) - 1)
        unknown = self.classes[place] != labels
        if unknown.any():
            raise ValueError(f"y holds the label {labels[unknown][0]!r}, which is none of the classes {self.classes}")
        return torch.from_numpy(place.astype(np.int64))

    def best(self, output: Tensor) -> Tensor:
        """The index of the class with the largest output, int64 (m,)."""
        if self.columns > 1:
            return output.argmax(dim=1)
        assert self.classes is not None
        return (output[:, 0] > 0).long() if len(self.classes) == 2 else output[:, 0].new_zeros(len(output)).long()

    def decode(self, output: Tensor) -> np.ndarray | Tensor:
        """Labels (NumPy, of the dtype they came in) or values (a tensor)."""
        if self.classes is not None:
            return self.classes[self.best(output).cpu().numpy()]
        return output[:, 0] if self.flat else output


def labels_of(y: Any, *, warn: bool = False) -> np.ndarray:
    """Labels as a NumPy vector; a column is one too, if asked for with scikit-learn's warning where it is no tensor."""
    labels = _numpy(y) if isinstance(y, Tensor) else np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
        if warn and not isinstance(y, Tensor):
            warn_of_column()
    if labels.ndim != 1:
        raise ValueError(f"y must have one label for each sample, shape (m,), got shape {labels.shape}")
    if labels.dtype.kind == "O":
        labels = _plain(labels)
    if labels.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: y has dtype {labels.dtype}")
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            raise ValueError(f"y contains NaN or infinity, in row {np.flatnonzero(~np.isfinite(labels))[0]}")
        if (labels != np.round(labels)).any():
            raise ValueError(
                f"Unknown label type: continuous. y must hold class labels, got {labels[labels != np.round(labels)][0]}"
            )
    return labels


def _numpy(y: Tensor) -> np.ndarray:
    y = y.detach().cpu()
    return (y.float() if y.dtype is torch.bfloat16 else y).numpy()  # NumPy has no bfloat16


def _plain(labels: np.ndarray) -> np.ndarray:
    """Labels of dtype object: strings stay, numbers get a dtype of theirs. ValueError for missing and mixed ones."""
    strings = [isinstance(label, str) for label in labels]
    if all(strings):
        return labels
    missing = [row for row, label in enumerate(labels) if label is None or label != label]
    if missing:
        raise ValueError(f"y contains NaN or None, in row {missing[0]}")
    if any(strings):
        raise ValueError(f"y must hold labels of one type, strings or numbers, got both in rows "
                         f"{strings.index(True)} and {strings.index(False)}")  # fmt: skip
    return np.array(labels.tolist())


def values_of(y: Any) -> Tensor:
    """Values (m,) or (m, c)."""
    found = y.detach() if isinstance(y, Tensor) else np.asarray(y)
    if found.is_complex() if isinstance(found, Tensor) else found.dtype.kind == "c":
        raise ValueError("Complex data not supported: y")
    values = found if isinstance(found, Tensor) else torch.from_numpy(np.array(found, dtype=_float(found)))
    if values.dim() not in (1, 2) or (values.dim() == 2 and values.shape[1] == 0):
        raise ValueError(f"y must have shape (m,) or (m, c), got {tuple(values.shape)}")
    return values if values.is_floating_point() else values.double()


def _float(y: np.ndarray) -> Any:
    return y.dtype.newbyteorder("=") if y.dtype in (np.float32, np.float64) else np.float64


def is_classification(y: Any, task: str) -> bool:
    """As `task` says; "auto": floating values are no classes."""
    if task != "auto":
        return task == "classification"
    if isinstance(y, Tensor):
        return not y.is_floating_point()
    values = np.asarray(y)
    if values.dtype.kind == "O" and not any(isinstance(value, str) for value in values.flat):
        values = np.array(values.tolist())  # numbers in an object array are what they are
    return values.dtype.kind != "f"

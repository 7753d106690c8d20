"""Extreme learning machines of other packages, and ridge regression on the same features, where they are installed."""

from __future__ import annotations

import importlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

Fits = list[tuple[str, Callable[[], object]]]


def contestants(x: Tensor, y: Tensor, w: Tensor, l2: float) -> tuple[Fits, list[str]]:
    """Fits of one hidden layer of tanh units, weights w (d + 1, width), to y (m, c); and what is missing."""
    found: Fits = []
    missing = []
    for name, package, make in (("hpelm", "hpelm", _hpelm), ("scikit-elm", "skelm", _skelm),
                                ("scikit-learn's Ridge", "sklearn", _ridge)):  # fmt: skip
        try:
            importlib.import_module(package)
            found.append((name, make(x, y, w, l2)))
        except Exception as error:  # a package may fail at import in any way, as an old one does on a new numpy
            missing.append(f"{name}: {type(error).__name__}: {error}")
    return found, missing


def _hpelm(x: Tensor, y: Tensor, w: Tensor, l2: float) -> Callable[[], object]:
    from hpelm import ELM

    inputs, targets = x.numpy().astype(np.float64), y.numpy().astype(np.float64)

    def run() -> object:
        model = ELM(x.shape[1], y.shape[1], norm=l2)
        model.add_neurons(w.shape[1], "tanh", w[1:].double().numpy(), w[0].double().numpy())
        model.train(inputs, targets)
        return model

    return run


def _skelm(x: Tensor, y: Tensor, w: Tensor, l2: float) -> Callable[[], object]:
    from skelm import ELMRegressor

    inputs, targets = x.numpy(), y.numpy()
    return lambda: ELMRegressor(alpha=l2, n_neurons=w.shape[1], ufunc="tanh", include_original_features=False,
                                random_state=0).fit(inputs, targets)  # fmt: skip


def _ridge(x: Tensor, y: Tensor, w: Tensor, l2: float) -> Callable[[], object]:
    from sklearn.linear_model import Ridge

    def run() -> object:
        features = torch.addmm(w[0], x, w[1:]).tanh_()
        return Ridge(alpha=l2, solver="cholesky", copy_X=False).fit(features.numpy(), y.numpy())

    return run

"""Multilayer perceptrons in closed form (thesis chapter 7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from effdl_fast.ops._arguments import integer, number
from effdl_fast.solvers._checks import at_least, common, one_of, widths
from effdl_fast.solvers._closed_form import ClosedFormMLP
from effdl_fast.solvers._fitting import Plan

BETA = {"random": 10.0, "pca": 1e7}  # where none is given (sections 7.9.2, 7.9.3)


class PlatonicMLP(ClosedFormMLP):
    r"""A multilayer perceptron fitted layer by layer by least squares, without gradients (thesis chapter 7).

    With Z the representation so far (a column of ones first) and Y the targets, a hidden layer has the weights
    W = Z^+ T of the targets T = alpha [Z, beta Y] P, and the last one Z^+ Y (sections 7.3.2, 7.5; Fig. 7.3).
    """

    def __init__(
        self,
        hidden: Sequence[int] = (100,),
        *,
        activation: Any = "relu",
        projection: str = "random",
        first: str | None = None,
        solver: str = "ridge",
        alpha: float = 1.0,
        beta: float | None = None,
        l2: float | str = 1e-3,
        tries: int = 1,
        ema: float | None = None,
        mixing: float = 3.0,
        atol: float | None = None,
        task: str = "auto",
        track_accuracy: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        seed: int | None = None,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.projection = projection
        self.first = first
        self.solver = solver
        self.alpha = alpha
        self.beta = beta
        self.l2 = l2
        self.tries = tries
        self.ema = ema
        self.mixing = mixing
        self.atol = atol
        self.task = task
        self.track_accuracy = track_accuracy
        self.dtype = dtype
        self.device = device
        self.seed = seed

    # ---- parameters ----

    def _plan(self) -> Plan:
        name = type(self).__name__
        beta = self.beta
        if beta is None:
            beta = BETA.get(self.projection, 1.0)
        one_of(name, "projection", self.projection, tuple(BETA))
        one_of(name, "first", self.first, (None, "sorted_pca"))
        if self.ema is not None and not 0.0 <= number(name, "ema", self.ema) <= 1.0:
            raise ValueError(f"{name}: ema must be from 0 to 1, got {self.ema}")
        return Plan(
            projection=self.projection,
            first=self.first,
            alpha=number(name, "alpha", self.alpha),
            beta=number(name, "beta", beta),
            tries=integer(name, "tries", self.tries, 1, 1 << 20),
            ema=None if self.ema is None or self.projection != "pca" else float(self.ema),
            mixing=at_least(name, "mixing", self.mixing, 0.0),
            **common(name, self),
        )

    def _widths(self) -> list[int]:
        return widths(type(self).__name__, self.hidden)

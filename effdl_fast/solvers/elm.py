"""The extreme learning machine, for comparison (Huang et al. 2004; thesis sections 7.4 and 7.9.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from effdl_fast.solvers._checks import common, several_passes, widths
from effdl_fast.solvers._closed_form import ClosedFormMLP
from effdl_fast.solvers._fitting import Plan
from effdl_fast.solvers._growth import Grow


class ELM(ClosedFormMLP):
    """A network whose hidden weights are random, N(0, 1) with their biases; the last layer is fitted by least squares.

    What PlatonicMLP is measured against: on MNIST 1,568 units classify 93.89% of the test samples, where 392 of Sorted
    PCA classify 93.14% (thesis Table 7.2).

    Parameters
    ----------
    hidden, activation, solver, l2, atol, task, track_accuracy, dtype, device, seed
        As of PlatonicMLP. `history_` has the last representation alone, as the hidden layers are not fitted.
    """

    def __init__(
        self,
        hidden: Sequence[int | Grow] = (100,),
        *,
        activation: Any = "relu",
        solver: str = "ridge",
        l2: float | str = 1e-3,
        atol: float | None = None,
        task: str = "auto",
        track_accuracy: bool = False,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        seed: int | None = 0,
    ) -> None:
        self.hidden = hidden
        self.activation = activation
        self.solver = solver
        self.l2 = l2
        self.atol = atol
        self.task = task
        self.track_accuracy = track_accuracy
        self.dtype = dtype
        self.device = device
        self.seed = seed

    def _plan(self) -> Plan:
        name = type(self).__name__
        return Plan(projection="weights", first=None, alpha=1.0, beta=1.0, tries=1, ema=None, mixing=0.0,
                    **common(name, self))  # fmt: skip

    def _passes(self) -> bool:
        return several_passes(self)

    def _widths(self) -> list[int | Grow]:
        return widths(type(self).__name__, self.hidden)

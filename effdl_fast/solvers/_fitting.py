"""A fit in progress: one layer after another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from effdl_fast.solvers import _projection as projections
from effdl_fast.solvers._estimator import LayerRecord
from effdl_fast.solvers._growth import Grow
from effdl_fast.solvers._layer_fit import Solver, check
from effdl_fast.solvers._least_squares import LeastSquares, Target
from effdl_fast.solvers._penalty import choose_l2
from effdl_fast.solvers._representation import Gathered, Representation
from effdl_fast.solvers._sorted_pca import sorted_pca
from effdl_fast.solvers._targets import Targets
from effdl_fast.solvers._tries import best_try


@dataclass(frozen=True)
class Plan:
    """Checked parameters of PlatonicMLP."""

    projection: str  # random, pca, weights (random weights: the extreme learning machine)
    first: str | None
    solver: str
    alpha: float
    beta: float
    l2: float | str
    tries: int
    ema: float | None
    mixing: float
    atol: float | None
    accuracy: bool


ROUNDS = 1e6  # the condition number from which on float32 weights may not do what float64 ones would


class Fitting:
    def __init__(self, plan: Plan, z: Representation, targets: Targets, generator: torch.Generator,
                 progress: Callable[[LayerRecord], object] | None = None) -> None:  # fmt: skip
        self.plan, self.z, self.targets, self.generator, self.progress = plan, z, targets, generator, progress
        self.records: dict[int, LayerRecord] = {}  # by the number of hidden layers before
        self.solver = Solver(plan.solver, plan.l2 if isinstance(plan.l2, float) else 0.0, plan.atol)

    @property
    def history(self) -> list[LayerRecord]:
        return [self.records[layer] for layer in sorted(self.records)]

    @property
    def where(self) -> str:
        return f"layer {len(self.z.layers) + 1}"

    def hidden(self, width: int | Grow) -> None:
        """Finds the weights of a further hidden layer and goes on to its output."""
        if isinstance(width, Grow):
            self._grow(width)
        else:
            self._advance(self._weights(width))

    def _is_first(self) -> bool:
        """Whether the next layer is one that `first` is for."""
        return self.plan.first is not None and not len(self.z.layers)

    def _weights(self, width: int) -> Tensor:
        """(n, w), or (t, n, w) to choose from."""
        kind = self.plan.first if self._is_first() else self.plan.projection
        if kind == "random":
            weights = self._random(width)
        elif kind == "pca":
            weights = self._pca(width)
        elif kind == "sorted_pca":
            self._solve()
            weights = sorted_pca(self.z, width)
        else:
            columns, device = self.z.inputs()
            weights = projections.random(1 + columns, width, 1, self.generator, device)
        return weights.to(self.z.dtype)

    def output(self) -> Tensor:
        """Weights of the last layer, as good as the network's dtype can hold them."""
        found = self._solve()
        weights = found.solution.to(self.z.dtype)
        layer = len(self.z.layers)
        record = self.records[layer]
        if self.z.dtype is torch.float64 or record.condition < ROUNDS or isinstance(self.z, Gathered):
            return weights
        lsd, (softer, its) = self.z.distance(weights), self.solver.softer(self.z, self.targets.columns)
        if lsd > 1.01 * record.lsd and its < lsd:  # large weights that cancel, but not when rounded
            weights, lsd = softer, its
        self.records[layer] = record._replace(lsd=lsd)
        return weights

    def _rows(self) -> int:
        """n + c"""
        return self.z.moments().shape[0]

    def _solve(self, target: Target | None = None) -> LeastSquares:
        """The least squares problem of the present representation, noted in the history."""
        c = self.targets.columns
        if isinstance(self.plan.l2, str) and self.solver.name == "ridge":
            self.solver = replace(self.solver, l2=choose_l2(self.z, c, self.plan.l2, self.where))
        found = self.solver.solve(self.z, c, self.where, target)
        accuracy = None
        if self.plan.accuracy and self.targets.classes is not None:
            accuracy = self.z.accuracy(found.solution.to(self.z.dtype), self.targets.best)
        lsd, rcond = float(found.lsd), float(found.rcond)
        l2 = self.solver.l2 if self.solver.name == "ridge" else 0.0
        condition = float("inf") if rcond == 0 else 1.0 / rcond
        layer = len(self.z.layers)
        again = layer in self.records  # with more samples, or for another width
        self.records[layer] = LayerRecord(self._rows() - c - 1, lsd, condition, found.route, l2, accuracy)
        if self.progress is not None and not again:
            self.progress(self.records[layer])
        return found

    def _random(self, width: int) -> Tensor:
        """Thesis sections 7.5, 7.5.1."""
        plan, device = self.plan, self.z.moments().device
        projection = projections.random(self._rows(), width, plan.tries, self.generator, device)
        found = self._solve(Target(projection, plan.alpha, plan.beta))
        if found.weights is None:
            raise RuntimeError("a target is given, so there are weights")
        return found.weights

    def _pca(self, width: int) -> Tensor:
        """Thesis sections 7.8.1, 7.9.3."""
        plan, c = self.plan, self.targets.columns
        moments = self.z.moments()
        if width > len(moments) and plan.mixing == 0:
            raise ValueError(f"{self.where}: Platonic PCA gives {len(moments)} units at most, as {len(moments) - c} "
                             f"inputs and {c} targets have, got {width}; give mixing > 0 for more")  # fmt: skip
        found = self._solve()
        if plan.ema is not None:
            moments = self.z.weighted_moments(found.solution.to(self.z.dtype) if len(self.z.layers) else None)
        if plan.mixing == 0:
            projection = projections.platonic_pca(moments, c, plan.beta, width)
        else:
            projection = projections.mixed_pca(moments, c, plan.beta, width, plan.mixing, self.generator)
        target = Target(projection, plan.alpha, plan.beta)
        return self.solver.weighted(self.z, c, self.where, moments, target)

    def _advance(self, weights: Tensor) -> None:
        if weights.dim() == 2:
            check(weights, self.where)
            self.z.advance(weights)
            return
        best, moments, distance = best_try(self.z, weights, self.targets.columns, self.solver.l2)
        self._finite(distance)
        self.z.advance(weights[best], moments)

    def _grow(self, grow: Grow) -> None:
        before, kept = float("inf"), None
        exact = self.plan.projection == "pca" and self.plan.mixing == 0 and not self._is_first()
        most = self._rows() if exact else grow.most  # exact PCA has no more components
        for width in grow.widths():
            if width > most and kept is not None:
                break
            weights = self._weights(width)
            weights = weights[None] if weights.dim() == 2 else weights
            best, moments, distance = best_try(self.z, weights, self.targets.columns, self.solver.l2)
            self._finite(distance)
            if kept is not None and not grow.pays(distance, before):
                break
            before, kept = distance, (weights[best], moments)
        if kept is not None:
            self.z.advance(*kept)

    def _finite(self, distance: float) -> None:
        check(torch.tensor(distance), self.where)

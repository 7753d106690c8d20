"""How networks are fitted in closed form, whatever makes their hidden weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from effdl_fast.solvers._activation import resolve
from effdl_fast.solvers._estimator import Estimator, LayerRecord, same_length
from effdl_fast.solvers._fitting import Fitting, Plan
from effdl_fast.solvers._growth import Grow
from effdl_fast.solvers._inputs import Loader, is_loader
from effdl_fast.solvers._layers import Layers
from effdl_fast.solvers._representation import Gathered, Group, Representation, Stored, Streamed, in_memory
from effdl_fast.solvers._targets import Targets

BUDGET = 32 << 20  # bytes of a representation that is kept in memory


class ClosedFormMLP(Estimator):
    """Base of PlatonicMLP and ELM."""

    _gathered: tuple[Fitting, Gathered] | None = None  # what partial_fit has so far

    def _plan(self) -> Plan:
        """The parameters, checked."""
        raise NotImplementedError

    def _widths(self) -> list[int | Grow]:
        raise NotImplementedError

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        group: Any = None,
        progress: Callable[[LayerRecord], object] | None = None,
    ) -> Any:
        """Fits all layers.

        Args:
            X: samples (m, ...), tensor or array-like, dimensions after the first are flattened; or, without y, a loader
                that gives batches (X, y) and can be gone through once for every layer.
            y: labels (m,), or values (m,) or (m, c).
            group: a torch.distributed process group, or True for the default one: every rank calls with samples of its
                own and the same parameters, and all have the same network in the end. One all-reduce a layer (two with
                ema).
            progress: called with each entry of history_ as it comes.

        Raises:
            ValueError: NaN or infinity (names the row, or the layer in which they come up), shapes that do not fit,
                parameters out of range.
            TypeError: sparse data, an iterator in place of a loader, wrong types.
        """
        plan, widths, activation = self._plan(), self._widths(), resolve(self.activation)
        ranks = Group(group)
        z: Representation
        if y is None and is_loader(X):
            targets = self._targets_of_loader(X, ranks)
            source = Loader(X, targets, self.dtype, self.device)
            dtype = source.look()
            z = Streamed(source, activation, ranks, dtype, targets.columns, weigh=plan.ema)
        else:
            x, target, targets = self._samples(X, y, ranks)
            z = in_memory(x, target, activation, ranks, weigh=plan.ema, budget=BUDGET,
                          widths=[w.most if isinstance(w, Grow) else w for w in widths])  # fmt: skip
            if plan.solver != "ridge":
                z = Stored(x, target, activation, ranks, weigh=plan.ema)
        fitting = Fitting(plan, z, targets, self._generator(ranks), progress)
        for width in widths:
            fitting.hidden(width)
        output = fitting.output()
        self._gathered = None
        self._finish(z.layers, output, targets, fitting.history)
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        """Adds a batch to the moments of the layer that is being fitted, for samples that pass by once a layer.

        The network then ends there: `predict` uses the layers that are done and the best linear map after them. When
        all samples have passed, `next_layer()` goes on; after one pass for every layer the network is the one that
        `fit` finds. Once all hidden layers are done, further batches go on improving the last layer, exactly.

        Args:
            X, y: as of `fit`, a batch of any size.
            classes: all class labels; needed in the first call unless the first batch has all of them.

        Raises:
            ValueError: as `fit`; ema, first="sorted_pca", tries, Grow, l2="loo" and the solvers other than ridge, which
                need to go through the samples more than once a layer: use `fit` with a loader.
        """
        plan, activation = self._plan(), resolve(self.activation)
        grown = any(isinstance(width, Grow) for width in self._widths())
        if plan.ema is not None or plan.first or plan.l2 == "loo" or plan.solver != "ridge" or plan.tries != 1 or grown:
            raise ValueError("partial_fit: ema, first, tries, Grow, l2='loo' and solvers other than ridge need several "
                             "passes for a layer; use fit with a loader")  # fmt: skip
        if self._gathered is None:
            x = self._new_matrix(X)
            targets = Targets.of(y, self.task, classes)
            z = Gathered(Layers(activation), Group(), x.dtype, x.new_zeros((), dtype=torch.float64), targets.columns)
            self._gathered = Fitting(plan, z, targets, self._generator(Group())), z
            self._finish(z.layers, x.new_zeros(x.shape[1] + 1, targets.columns), targets, [])
        fitting, z = self._gathered
        x = self._matrix(X)
        target = fitting.targets.encode(y, x.dtype, x.device)
        same_length(x, target)
        z.add(z.layers.moments(x, target))
        self._finish(z.layers, fitting.output(), fitting.targets, fitting.history)
        return self

    def next_layer(self, *, group: Any = None) -> Any:
        """Ends a pass of `partial_fit` over the samples: the next hidden layer is fitted to their moments.

        group: a torch.distributed group whose ranks have passed shares of the samples; its moments are summed. All
            ranks need the same seed and classes.

        Raises ValueError before `partial_fit`, where all hidden layers are done, and for a group without a seed.
        """
        if self._gathered is None:
            raise ValueError("next_layer: call partial_fit first")
        widths = self._widths()
        fitting, z = self._gathered
        done = len(z.layers)
        if done >= len(widths):
            raise ValueError(f"next_layer: all {len(widths)} hidden layers are fitted")
        ranks = Group(group)
        if ranks.active and self.seed is None:
            raise ValueError("next_layer: the ranks of a group need a seed, the same on all")
        z.share(ranks)
        fitting.hidden(widths[done])
        return self

"""How networks are fitted in closed form, whatever makes their hidden weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from effdl_fast.solvers._activation import resolve
from effdl_fast.solvers._estimator import Estimator, LayerRecord
from effdl_fast.solvers._fitting import Fitting, Plan
from effdl_fast.solvers._growth import Grow
from effdl_fast.solvers._inputs import Loader, is_loader
from effdl_fast.solvers._layer_fit import check
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
                that gives batches (X, y) and can be gone through once for every layer and once for its labels; no list.
            y: labels (m,), or values (m,) or (m, c).
            group: a torch.distributed process group, or True for the default one: every rank calls with samples of its
                own and the same parameters, and all have the same network in the end. One all-reduce of moments for
                each layer; ema, first, l2="loo" and track_accuracy add one each, and the start a few small ones.
            progress: called with each entry of history_ as it comes.

        Raises:
            ValueError: NaN or infinity (names the row, or the layer in which they come up), shapes that do not fit,
                parameters out of range.
            TypeError: sparse data, an iterator in place of a loader, wrong types.
        """
        plan, widths, activation = self._plan(), self._widths(), resolve(self.activation)
        ranks = Group(group)
        loader = y is None and is_loader(X)
        x, targets = ranks.together(lambda: (None, self._loader_targets(X)) if loader else self._local(X, y))
        targets = self._agreed(targets, ranks)
        z: Representation
        if x is None:
            source = Loader(X, targets, self.dtype, self.device)
            dtype = ranks.together(source.look)
            self._alike(ranks, "loader", dtype, source.features)
            z = Streamed(source, activation, ranks, dtype, targets.columns, weigh=plan.ema)
        else:
            target = ranks.together(lambda: self._target(targets, y, x))
            self._alike(ranks, "array", x.dtype, x.shape[1])
            z = in_memory(x, target, activation, ranks, weigh=plan.ema, budget=BUDGET,
                          widths=[w.most if isinstance(w, Grow) else w for w in widths])  # fmt: skip
            if plan.solver != "ridge" and not ranks.active:
                z = Stored(x, target, activation, ranks, weigh=plan.ema)
        fitting = Fitting(plan, z, targets, self._generator(ranks), progress)
        for width in widths:
            fitting.hidden(width)
        output = fitting.output()
        self._gathered = None
        self._finish(z.layers, output, targets, fitting.history)
        return self

    @staticmethod
    def _alike(ranks: Group, kind: str, dtype: torch.dtype, features: int | None) -> None:
        """ValueError, on all ranks, where they hold samples of different kinds."""
        kinds = ranks.gather_objects(f"{kind} of {features} features in {str(dtype).removeprefix('torch.')}")
        if len(set(kinds)) > 1:
            raise ValueError(f"the ranks of a group need samples of one kind, got {', '.join(kinds)}")

    @property
    def partial_fit(self) -> Callable[..., Any]:
        """partial_fit(X, y, classes=None): adds a batch to the moments of the layer that is being fitted.

        For samples that pass by once a layer.

        The network then ends there: `predict` uses the layers that are done and the best linear map after them. When
        all samples have passed, `next_layer()` goes on; after one pass for every layer the network is the one that
        `fit` finds. Once all hidden layers are done, further batches go on improving the last layer, exactly. A batch
        that raises leaves everything as it was.

        X, y: as of `fit`, a batch of any size. classes: all class labels; needed in the first call unless the first
        batch has all of them, and not looked at later.

        AttributeError for networks that need to go through the samples more than once a layer (ema, first="sorted_pca",
        tries, Grow, l2="loo", solvers other than ridge): use `fit` with a loader.
        """
        if self._passes():
            raise AttributeError("partial_fit: ema, first, tries, Grow, l2='loo' and solvers other than ridge need "
                                 "several passes for a layer; use fit with a loader")  # fmt: skip
        return self._partial_fit

    def _passes(self) -> bool:
        """Whether a layer takes several passes, by the parameters as they are, checked or not."""
        raise NotImplementedError

    def _partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        plan, activation = self._plan(), resolve(self.activation)
        if self._gathered is None:
            x = self._new_matrix(X)
            targets = Targets.of(y, self.task, classes)
            z = Gathered(Layers(activation), Group(), x.dtype, x.new_zeros((), dtype=torch.float64), targets.columns)
            fitting = Fitting(plan, z, targets, self._generator(Group()))
        else:
            fitting, z = self._gathered
            x = self._matrix(X)
        target = self._target(fitting.targets, y, x)
        moments = z.layers.moments(x, target)
        check(moments, f"partial_fit: layer {len(z.layers) + 1}")
        before = z.own
        z.add(moments)
        try:
            output = fitting.output()
        except BaseException:
            z.set(before)
            raise
        self._gathered = fitting, z
        self._finish(z.layers, output, fitting.targets, fitting.history)
        return self

    def next_layer(self, *, group: Any = None) -> Any:
        """Ends a pass of `partial_fit` over the samples: the next hidden layer is fitted to their moments.

        Until the next batch comes, the network stays as it is.

        group: a torch.distributed group whose ranks have passed shares of the samples; their moments are summed. All
            ranks need the same seed and classes. After the last hidden layer's pass it gives all ranks the last layer
            of all samples; more batches and another call may follow.

        Raises ValueError before `partial_fit`, without samples since the last call, where all hidden layers are done
        (and there is no group), and for a group without a seed.
        """
        if self._gathered is None:
            raise ValueError("next_layer: call partial_fit first")
        widths = self._widths()
        fitting, z = self._gathered
        ranks = Group(group)
        if ranks.active and self.seed is None:
            raise ValueError("next_layer: the ranks of a group need a seed, the same on all")
        done = len(z.layers)
        if done >= len(widths) and not ranks.active:
            raise ValueError(f"next_layer: all {len(widths)} hidden layers are fitted")
        if z.own.dim() == 0:
            raise ValueError("next_layer: there were no samples since the last layer")
        own = z.own
        z.set(ranks.sum(own.clone()))
        if done < len(widths):
            fitting.hidden(widths[done])
            return self
        self._finish(z.layers, fitting.output(), fitting.targets, fitting.history)
        z.set(own)
        return self

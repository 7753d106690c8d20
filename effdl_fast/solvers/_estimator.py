"""What networks fitted in closed form share: scikit-learn's conventions, prediction, modules, files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from effdl_fast.ops._arguments import integer
from effdl_fast.solvers import _store
from effdl_fast.solvers._activation import resolve
from effdl_fast.solvers._conventions import Conventions, names_of, not_fitted
from effdl_fast.solvers._inputs import is_loader, matrix, pairs, targets_of
from effdl_fast.solvers._layers import Layers, affine
from effdl_fast.solvers._record import LayerRecord
from effdl_fast.solvers._representation import Group
from effdl_fast.solvers._targets import Targets

__all__ = ["Estimator", "LayerRecord", "same_length"]


class Estimator(Conventions):
    """Base of ClosedFormMLP: everything but fitting."""

    activation: Any
    device: Any
    dtype: Any
    task: str
    seed: Any

    def check_parameters(self) -> None:
        """What `fit` checks of the parameters before it begins: TypeError or ValueError for one that cannot be."""
        self._plan()
        self._widths()
        self._generator(Group())
        resolve(self.activation)

    def _plan(self) -> Any:
        raise NotImplementedError

    def _widths(self) -> Any:
        raise NotImplementedError

    # ---- prediction ----

    def _fitted(self) -> None:
        if not hasattr(self, "output_"):
            raise not_fitted(type(self).__name__)

    @property
    def decision_function(self) -> Callable[[Any], Any]:
        """decision_function(X): the output (m, c) for samples X, as a tensor for a tensor, else a NumPy array.

        (m,) for two classes (above 0 the second one) and for targets of one dimension. Outputs are no probabilities:
        they may lie anywhere. Not there with task="regression", where `predict` gives them.
        """
        if self.task == "regression":
            raise AttributeError(f"{type(self).__name__} with task='regression' has no decision_function; use predict")
        return self._decision

    def _decision(self, X: Any) -> Any:
        output = self._output(X)
        if self.targets_.columns == 1 and (self.targets_.classes is not None or self.targets_.flat):
            output = output[:, 0]
        return output if isinstance(X, Tensor) else output.cpu().numpy()

    def predict(self, X: Any) -> Any:
        """Labels or values of samples X (m, ...).

        Returns NumPy arrays, or tensors on the network's device where X is a tensor and labels are numbers.
        """
        output = self._output(X)
        found = self.targets_.decode(output)
        if isinstance(found, Tensor):
            return found if isinstance(X, Tensor) else found.cpu().numpy()
        numbers = found.dtype.kind in "biuf"
        return torch.as_tensor(found, device=output.device) if isinstance(X, Tensor) and numbers else found

    def score(self, X: Any, y: Any = None) -> float:
        """Accuracy of classes, R^2 of values (the mean over columns), of samples in memory or of a loader's batches."""
        self._fitted()
        batches = pairs(X) if y is None and is_loader(X) else [(X, y)]
        targets = self.targets_
        if targets.classes is not None:
            right = count = 0
            for x, labels in batches:
                best, wanted = targets.best(self._output(x)).cpu(), targets.index(labels)
                same_length(best, wanted)
                right += int((best == wanted).sum())
                count += len(best)
            if count == 0:
                raise ValueError("score: there are no samples")
            return right / count
        sums: Any = None
        for x, values in batches:
            out = self._output(x).double()
            y_ = targets.encode(values, torch.float64, out.device)
            same_length(out, y_)
            if sums is None:
                sums, shift = 0.0, y_.mean(0)  # squares of values far from 0 would drown their spread
            near, wrong = y_ - shift, y_ - out
            columns = [torch.ones_like(near), near, near.square(), wrong.square()]
            sums = sums + torch.stack([column.sum(0) for column in columns])
        if sums is None:
            raise ValueError("score: there are no samples")
        count, total, squares, error = sums
        spread = squares - total.square() / count
        return float(torch.where(spread > 0, 1.0 - error / spread, torch.where(error > 0, 0.0, 1.0)).mean())

    def _output(self, X: Any) -> Tensor:
        self._fitted()
        return affine(self.layers_.forward(self._matrix(X)), self.output_)

    def _matrix(self, X: Any) -> Tensor:
        """Samples for the fitted network."""
        self._check_names(X)
        x = matrix(X, self.dtype_, self.device_)
        if x.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {x.shape[1]} features, but {type(self).__name__} is expecting "
                             f"{self.n_features_in_} features as input")  # fmt: skip
        return x

    def transform(self, X: Any) -> Any:
        """The last hidden representation (m, w) of samples X: a tensor for a tensor, else as `set_output` says."""
        self._fitted()
        z = self.layers_.forward(self._matrix(X))
        return z if isinstance(X, Tensor) else self._contained(z.cpu().numpy(), X, self.get_feature_names_out())

    def fit_transform(self, X: Any, y: Any) -> Any:
        """`fit(X, y)`, then `transform(X)`."""
        return self.fit(X, y).transform(X)

    def fit(self, X: Any, y: Any) -> Any:
        raise NotImplementedError

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Names of the columns that `transform` gives: the class in lower case, and a number.

        input_features: None, or the names of X's features, which are checked (ValueError) and not used.
        """
        self._fitted()
        self._check_input_names(input_features, self.n_features_in_)
        width = [w.shape[1] for w in self.layers_.weights][-1] if len(self.layers_) else self.n_features_in_
        return np.array([f"{type(self).__name__.lower()}{i}" for i in range(width)], dtype=object)

    # ---- as a module ----

    def to_module(self) -> nn.Sequential:
        """A copy as torch.nn (Linear, activation, ..., Linear) of flattened samples; backpropagation can go on with it.

        Its output is that of decision_function, always (m, c)."""
        self._fitted()
        parts: list[nn.Module] = []
        for w in self.layers_.weights:
            parts += [_linear(w), self.layers_.activation.module()]
        return nn.Sequential(*parts, _linear(self.output_))

    # ---- as a file ----

    def save(self, path: str | os.PathLike[str], *, activation: bool = True) -> None:
        """Writes the network, its parameters and its history as a .safetensors file, whole or not at all.

        Weights are the tensors weights.0, weights.1, ... and output, each (1 + inputs, outputs) with the biases in row
        0; all else is JSON in the metadata. `device` is not kept, nor what `partial_fit` has gathered.

        Args:
            path: a file there is replaced.
            activation: False leaves it out. Needed where it is a module or function of your own, which `load` is then
                to be given.

        Raises:
            NotFittedError (a ValueError): there is no network yet.
            ValueError: an activation without a name, labels that are no numbers or strings, NaN or infinite weights.
            OSError: the file cannot be written.
        """
        self._fitted()
        _store.save(self, path, activation)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, activation: Any = None, device: Any = None) -> Any:
        """The network of a file of `save`. Nothing in the file is run.

        Args:
            activation: for a file saved without one, that which the network was fitted with.
            device: where the weights go, and the parameter `device`; the CPU without it.

        Raises:
            CorruptDataError (a ValueError): the file is truncated, altered, of another format or version.
            ValueError: the file is of another class, or lacks an activation that is not given.
            OSError: the file cannot be read.
        """
        return _store.load(cls, path, activation, device)

    # ---- what fitting takes and leaves ----

    def _local(self, X: Any, y: Any) -> tuple[Tensor, Targets]:
        """Samples in memory, and what this rank's targets mean."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None (batches "
                             "are to come from a loader, not a list)")  # fmt: skip
        return self._new_matrix(X), Targets.of(y, self.task)

    def _new_matrix(self, X: Any) -> Tensor:
        """Samples to fit to."""
        names = names_of(X)
        x = matrix(X, self.dtype, self.device)
        self._take_names(names)
        return x

    def _loader_targets(self, loader: Any) -> Targets:
        self._take_names(None)
        return targets_of(loader, self.task)

    @staticmethod
    def _target(targets: Targets, y: Any, x: Tensor) -> Tensor:
        target = targets.encode(y, x.dtype, x.device)
        same_length(x, target)
        return target

    @staticmethod
    def _agreed(targets: Targets, ranks: Group) -> Targets:
        """The classes of all ranks."""
        if targets.classes is None or not ranks.active:
            return targets
        return Targets.of(None, "classification", np.concatenate(ranks.gather_objects(targets.classes)))

    def _generator(self, ranks: Group) -> torch.Generator:
        """Of the seed, or of one drawn by the first rank."""
        seed = (
            torch.Generator().seed()
            if self.seed is None
            else integer(type(self).__name__, "seed", self.seed, 0, (1 << 63) - 1)
        )
        return torch.Generator().manual_seed(ranks.gather_objects(seed)[0])

    targets_: Targets
    layers_: Layers
    output_: Tensor
    dtype_: torch.dtype
    device_: torch.device
    n_features_in_: int
    history_: list[LayerRecord]

    def _finish(self, layers: Layers, output: Tensor, targets: Targets, history: list[LayerRecord]) -> None:
        self.layers_ = Layers(layers.activation, list(layers.weights))  # partial_fit goes on with its own
        self.output_, self.targets_ = output, targets
        self.dtype_, self.device_ = output.dtype, output.device
        self.n_features_in_ = [*layers.weights, output][0].shape[0] - 1
        self.history_ = history
        if targets.classes is not None:
            self.classes_ = targets.classes
        elif hasattr(self, "classes_"):
            del self.classes_


def same_length(x: Tensor, target: Tensor) -> None:
    if len(x) != len(target):
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {len(x)} and {len(target)}")


def _linear(w: Tensor) -> nn.Linear:
    linear = nn.Linear(w.shape[0] - 1, w.shape[1], device=w.device, dtype=w.dtype)
    with torch.no_grad():
        linear.weight.copy_(w[1:].mT)
        linear.bias.copy_(w[0])
    return linear

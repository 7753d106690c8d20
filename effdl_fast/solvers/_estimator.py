"""What networks fitted in closed form share: scikit-learn's conventions, prediction, modules, files."""

from __future__ import annotations

import inspect
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from effdl_fast.ops._arguments import integer
from effdl_fast.solvers._activation import resolve
from effdl_fast.solvers._inputs import is_loader, matrix, pairs, targets_of
from effdl_fast.solvers._layers import Layers, affine
from effdl_fast.solvers._representation import Group
from effdl_fast.solvers._targets import Targets


class LayerRecord(NamedTuple):
    """How a representation relates to the targets; the first of a history is that of the input."""

    width: int  # columns, without the bias
    lsd: float  # least squares distance: mean over samples of the squared error, summed over the columns of Y
    condition: float  # of the moments scaled to a unit diagonal, estimated; infinite where columns depend on others
    route: str  # how its least squares problem was solved: moments, triangle, pinv, lstsq
    l2: float  # the ridge that was used
    accuracy: float | None  # share of training samples that its best linear map classifies; where tracked


class Estimator:
    """Base of ClosedFormMLP: everything but fitting."""

    activation: Any
    device: Any
    dtype: Any
    task: str
    seed: Any

    # ---- parameters, as scikit-learn's BaseEstimator has them ----

    @classmethod
    def _names(cls) -> list[str]:
        return sorted(name for name in inspect.signature(cls.__init__).parameters if name != "self")

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters by name; `deep` is there for scikit-learn."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Any:
        """Changes parameters; returns self. ValueError for one that there is not."""
        for name, value in params.items():
            if name not in self._names():
                raise ValueError(
                    f"Invalid parameter {name!r} for estimator {self}. Valid parameters are: {self._names()!r}."
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {name: p.default for name, p in inspect.signature(type(self).__init__).parameters.items()}
        shown = [f"{name}={value!r}" for name, value in self.get_params().items()
                 if name == "hidden" or (value is not defaults[name] and value != defaults[name])]  # fmt: skip
        return f"{type(self).__name__}({', '.join(shown)})"

    # ---- prediction ----

    def _fitted(self) -> None:
        if not hasattr(self, "output_"):
            raise _not_fitted(type(self).__name__)

    def decision_function(self, X: Any) -> Any:
        """The network's output (m, c) for samples X, as a tensor for a tensor, else a NumPy array.

        (m,) for two classes (above 0 the second one) and for targets of one dimension.
        """
        output = self._output(X)
        if self.targets_.columns == 1 and (self.targets_.classes is not None or self.targets_.flat):
            output = output[:, 0]
        return output if isinstance(X, Tensor) else output.cpu().numpy()

    def predict(self, X: Any) -> Any:
        """Labels or values of samples X (m, ...).

        Returns NumPy arrays, or tensors on the network's device where X is a tensor and labels are numbers.
        """
        found = self.targets_decode(self._output(X))
        if isinstance(X, Tensor):
            return torch.as_tensor(found) if isinstance(found, np.ndarray) and found.dtype.kind in "biuf" else found
        return found.cpu().numpy() if isinstance(found, Tensor) else found

    def targets_decode(self, output: Tensor) -> Any:
        return self.targets_.decode(output)

    def score(self, X: Any, y: Any = None) -> float:
        """Accuracy of classes, R^2 of values (the mean over columns), of samples in memory or of a loader's batches."""
        self._fitted()
        batches = pairs(X) if y is None and is_loader(X) else [(X, y)]
        targets = self.targets_
        if targets.classes is not None:
            right = count = 0
            for x, labels in batches:
                best = targets.best(self._output(x)).cpu()
                right += int((best == targets.index(labels)).sum())
                count += len(best)
            return right / count
        sums: Any = 0.0
        for x, values in batches:
            out = self._output(x).double()
            y_ = targets.encode(values, torch.float64, out.device)
            if len(y_) != len(out):
                raise ValueError(
                    f"Found input variables with inconsistent numbers of samples: {len(out)} and {len(y_)}"
                )
            sums = sums + torch.stack(
                [torch.ones_like(y_).sum(0), y_.sum(0), y_.square().sum(0), (y_ - out).square().sum(0)]
            )
        count, total, squares, error = sums
        spread = squares - total.square() / count
        return float(torch.where(spread > 0, 1.0 - error / spread, torch.where(error > 0, 0.0, 1.0)).mean())

    def _output(self, X: Any) -> Tensor:
        self._fitted()
        return affine(self.layers_.forward(self._matrix(X)), self.output_)

    def _matrix(self, X: Any) -> Tensor:
        """Samples for the fitted network."""
        x = matrix(X, self.dtype_, self.device_)
        if x.shape[1] != self.n_features_in_:
            raise ValueError(f"X has {x.shape[1]} features, but {type(self).__name__} is expecting "
                             f"{self.n_features_in_} features as input")  # fmt: skip
        return x

    def transform(self, X: Any) -> Any:
        """The last hidden representation (m, w) of samples X."""
        self._fitted()
        z = self.layers_.forward(self._matrix(X))
        return z if isinstance(X, Tensor) else z.cpu().numpy()

    # ---- as a module ----

    def to_module(self) -> nn.Sequential:
        """A copy as torch.nn: Linear, activation, ..., Linear, for flattened samples; backpropagation can go on with it.

        Its output is that of decision_function, always (m, c)."""
        self._fitted()
        parts: list[nn.Module] = []
        activation = resolve(self.activation)
        for w in self.layers_.weights:
            parts += [_linear(w), activation.module()]
        return nn.Sequential(*parts, _linear(self.output_))

    # ---- what fitting takes and leaves ----

    def _samples(self, X: Any, y: Any, ranks: Group) -> tuple[Tensor, Tensor, Targets]:
        """Samples in memory, their targets and what those mean on all ranks."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        x = matrix(X, self.dtype, self.device)
        targets = self._agreed(Targets.of(y, self.task), ranks)
        target = targets.encode(y, x.dtype, x.device)
        same_length(x, target)
        return x, target, targets

    def _targets_of_loader(self, loader: Any, ranks: Group) -> Targets:
        return self._agreed(targets_of(loader, self.task), ranks)

    @staticmethod
    def _agreed(targets: Targets, ranks: Group) -> Targets:
        """The classes of all ranks."""
        if targets.classes is None or not ranks.active:
            return targets
        return Targets.of(None, "classification", np.concatenate(ranks.gather_objects(targets.classes)))

    def _generator(self, ranks: Group) -> torch.Generator:
        """Of the seed, or of one drawn by the first rank."""
        seed = torch.seed() if self.seed is None else integer(type(self).__name__, "seed", self.seed, 0, (1 << 63) - 1)
        return torch.Generator().manual_seed(ranks.gather_objects(seed)[0])

    targets_: Targets
    layers_: Layers
    output_: Tensor
    dtype_: torch.dtype
    device_: torch.device
    n_features_in_: int
    history_: list[LayerRecord]

    def _finish(self, layers: Layers, output: Tensor, targets: Targets, history: list[LayerRecord]) -> None:
        self.layers_, self.output_, self.targets_ = layers, output, targets
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


def _not_fitted(name: str) -> Exception:
    message = (
        f"This {name} instance is not fitted yet. Call 'fit' with appropriate arguments before using this estimator."
    )
    try:
        from sklearn.exceptions import NotFittedError
    except ImportError:
        return ValueError(message)
    return NotFittedError(message)

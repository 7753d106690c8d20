"""What each layer of a network has learned, measured while it trains (thesis 5.3 to 5.5)."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from effdl_fast.metrics._capture import OP, Capture, Layers, chosen, unwrapped
from effdl_fast.metrics.filtering import as_tensor
from effdl_fast.metrics.history import ProbeHistory
from effdl_fast.metrics.least_squares import least_squares_distance
from effdl_fast.metrics.redundancy import k_redundancy
from effdl_fast.metrics.representation import draw, representational_entropy
from effdl_fast.metrics.selection import conditional_entropy
from effdl_fast.metrics.voronoi import NoPureMapError, pure_entropy
from effdl_fast.metrics.weights import gradient_rms, numerical_rank, softmax_normaliser, stable_rank
from effdl_fast.ops._arguments import integer, number

MOST = (1 << 62) - 1
Metric = Callable[[Tensor, Tensor], Any]
# Of a layer's output and the labels.
OF_OUTPUTS: dict[str, Metric] = {
    "least_squares_distance": least_squares_distance,
    "conditional_entropy": lambda z, y: conditional_entropy(z, y).mean,
    "representational_entropy": lambda z, y: representational_entropy(z),
    "pure_entropy": lambda z, y: _pure_entropy(z, y),
}
REDUNDANCY, NORMALISER, GRADIENTS = "k_redundancy", "softmax_normaliser", "gradient_rms"
# Of the weights of every module that has a matrix or more.
OF_WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {"stable_rank": stable_rank, "numerical_rank": numerical_rank}
NAMES = (*OF_OUTPUTS, REDUNDANCY, *OF_WEIGHTS, GRADIENTS, NORMALISER)
DEFAULT = ("least_squares_distance", REDUNDANCY, "conditional_entropy")


class LayerProbe:
    """Measures the representations of a model's layers during training, and keeps the numbers.

    >>> with ef.metrics.LayerProbe(model) as probe:
    ...     for epoch in range(epochs):
    ...         train(model)
    ...         probe.record(epoch, x, y)          # or a loader of (inputs, labels)
    >>> probe.plot("lsd.png", "least_squares_distance")

    or on the batches that train it, without another forward pass:

    >>> probe = ef.metrics.LayerProbe(model, every=100)
    >>> for x, y in loader:
    ...     criterion(model(x), y).backward()
    ...     probe.step(y)                          # measures every 100th batch
    ...     optimizer.step()

    Memory while it measures: what is kept of the layers, up to max_samples x max_features elements of each call in
    the dtype of the output. `record` takes on top of it what is kept of one batch, a second copy of the largest layer,
    and all units of one batch of a layer whose output is not contiguous. Each metric adds its own, one layer at a time:
    several float64 copies of a layer in the worst case. Afterwards nothing but the numbers is held. While it waits for
    `step`, the outputs of the last forward pass are held.

    Args:
        model: any module, also within DataParallel, DistributedDataParallel or torch.compile. Layers are named as in
            the module inside.
        layers: the layers to look at: names as `named_modules` has them ("" is the model's output) or patterns of them
            ("blocks.*.act"), modules, types of modules, a function (name, module) -> bool, or a list of such. None:
            all activation modules (ReLU, GELU, tanh, ...), or where there are none all linear and convolution layers.
            A layer that is called several times in a forward pass has a row for each call: "act", "act#2", ... up to
            64 calls, and of all layers together up to 256 calls that are not the first; later ones are not looked at.
            A layer that is not called has none. Of an output with several tensors the first is taken.
        metrics: names, or functions (z, y) -> number, which are recorded under their `__name__`:
            "least_squares_distance", "k_redundancy" (recorded as "k_redundancy/5" ...), "conditional_entropy" (the
            mean), "representational_entropy", "pure_entropy" (slow) of the layers' outputs; "stable_rank",
            "numerical_rank" of the weights of all modules that have a matrix or more; "gradient_rms" of all
            modules whose parameters have a gradient; "softmax_normaliser" of the model's output (recorded as "mean" and
            "log_mean" of it).
        k: of "k_redundancy", one or several.
        max_samples: at most so many samples are looked at: of tensors given to `record` a random choice, the same
            each time; else the first ones.
        max_features: of a layer with more units so many are looked at, a random choice, the same each time.
        every: `step` measures at its first call and then at every so many; None: only `record` measures, and the hooks
            of a training loop do nothing.
        seed: of these choices.

    A layer whose output holds NaN or infinity has NaN for all metrics, and one whose output has no pure map (samples of
    different labels that coincide, or values too large) has NaN for "pure_entropy". What is measured needs no
    gradient, changes no random state, mode or buffer of the model.

    Raises:
        ValueError: no such layer or metric, numbers out of range.
        TypeError: wrong types.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Layers = None,
        *,
        metrics: Sequence[str | Metric] = DEFAULT,
        k: int | Sequence[int] = (5, 10, 20),
        max_samples: int = 2000,
        max_features: int = 2048,
        every: int | None = None,
        seed: int = 0,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"{OP}: model must be a torch.nn.Module, got {type(model).__name__}")
        self.model, self.history = model, ProbeHistory()
        self.max_samples = integer(OP, "max_samples", max_samples, 1, MOST)
        self.every = None if every is None else integer(OP, "every", every, 1, MOST)
        self.seed = integer(OP, "seed", seed, 0, MOST)
        self._k = [integer(OP, "k", one, 1, (1 << 31) - 1) for one in (k if isinstance(k, Sequence) else [k])]
        self._metrics = _metrics(metrics)
        self._inner = unwrapped(model)
        self._layers = chosen(self._inner, layers)
        modules = dict(self._layers)
        if NORMALISER in self._metrics:
            modules.setdefault("", self._inner)
        max_features = integer(OP, "max_features", max_features, 1, MOST)
        self._capture = Capture(model, modules, self.max_samples, max_features, self.seed)
        self._steps, self._closed, self._recorded = 0, False, False
        self._arm()

    @property
    def layers(self) -> list[str]:
        """The names of the layers, in the order of `named_modules`."""
        return list(self._layers)

    def __enter__(self) -> LayerProbe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Removes the hooks. The history stays."""
        self._capture.armed = False
        self._capture.close()
        self._closed = True

    def _arm(self) -> None:
        self._capture.armed = self.every is not None and self._steps % self.every == 0

    # ---- measuring ----

    def record(
        self, epoch: float, x: Any, y: Any = None, *, batch_size: int = 256, training: bool = False
    ) -> list[dict[str, Any]]:
        """Runs the model on labelled data and measures every layer.

        Args:
            epoch: what the numbers are recorded under.
            x: samples, a tensor or NumPy array with y beside it; or, without y, an iterable of (inputs, labels), of
                which only so many batches are drawn as max_samples takes. Inputs that are a tuple or list are passed
                as arguments, a dictionary as keyword arguments. They are moved to the device of the model.
            y: labels (n,), integers or bool.
            batch_size: samples in a forward pass, where x is a tensor.
            training: whether to run in training mode (with dropout, and with the batch's own statistics in batch
                normalisation, whose buffers are put back). The modes of all modules are put back.

        Returns:
            What was measured, as rows of `table`.
        """
        self._check_open()
        number(OP, "epoch", epoch)
        batch_size = integer(OP, "batch_size", batch_size, 1, MOST)
        kept: dict[str, list[Tensor]] = {}
        labels: list[Tensor] = []
        room = self.max_samples
        with _undisturbed(self.model, training), torch.no_grad():
            self._capture.armed = True
            try:
                for inputs, targets in self._batches(x, y, batch_size):
                    targets = _labels(targets)
                    self._capture.clear()
                    _call(self._inner, inputs)
                    for name, output in self._capture.take(len(targets)).items():
                        kept.setdefault(name, []).append(output[:room])
                    labels.append(targets[:room])
                    room -= len(labels[-1])
                    if room == 0:
                        break
            finally:
                self._capture.clear()
                self._arm()
                self._recorded = True
        if room == self.max_samples:
            raise ValueError(f"{OP}: x holds no samples")
        outputs = {name: torch.cat(kept.pop(name)) for name in list(kept)}  # one after the other: less memory
        for name, output in outputs.items():
            if len(output) != self.max_samples - room:
                raise ValueError(f"{OP}: layer {name!r} is not called for all samples; choose other layers")
        return self._measure(epoch, outputs, torch.cat(labels))

    def step(self, y: Any, *, epoch: float | None = None) -> list[dict[str, Any]] | None:
        """Measures the layers in the last forward pass of a training loop, if it is the turn of this batch.

        Call it once a batch, after the forward pass; for "gradient_rms" after backward and before gradients are zeroed.

        Args:
            y: labels of the batch, (n,) integers or bool.
            epoch: what the numbers are recorded under; the number of earlier calls without it.

        Returns:
            What was measured, as rows of `table`; None if it was not this batch's turn.

        Raises:
            RuntimeError: no layer was called since the last step or `record`, or the probe was made without `every`.
        """
        self._check_open()
        if self.every is None:
            raise RuntimeError(f"{OP}: step needs a probe that was made with every=")
        if epoch is not None:
            number(OP, "epoch", epoch)
        if not self._capture.armed:
            self._steps += 1
            self._recorded = False
            self._arm()
            return None
        y = _labels(y)
        outputs = self._capture.take(len(y))
        if not outputs:
            if self._recorded:
                raise RuntimeError(
                    f"{OP}: step: record has measured since the last forward pass and has forgotten that one: call "
                    "record after step, or before the forward pass"
                )
            raise RuntimeError(
                f"{OP}: step: no layer was called since the last step. A model that ran compiled before the probe was "
                "made does not see its hooks: use record, or make the probe first"
            )
        self._recorded = False
        measured = self._measure(self._steps if epoch is None else epoch, outputs, y[: self.max_samples])
        self._steps += 1
        self._arm()
        return measured

    def _batches(self, x: Any, y: Any, batch_size: int) -> Iterator[tuple[Any, Any]]:
        if y is None:
            for batch in x:
                if not isinstance(batch, tuple | list) or len(batch) != 2:
                    raise TypeError(f"{OP}: without y, x must yield (inputs, labels)")
                yield batch[0], batch[1]
            return
        x, y = as_tensor(OP, "x", x), _labels(y)
        if len(x) != len(y):
            raise ValueError(
                f"{OP}: y must have shape ({len(x)},), one label for each sample of x, got {tuple(y.shape)}"
            )
        picked = (
            draw(len(x), self.max_samples, torch.Generator().manual_seed(self.seed))
            if len(x) > self.max_samples
            else torch.arange(len(x))
        )
        for part in picked.split(batch_size):
            yield x[part.to(x.device)], y[part.to(y.device)]

    def _measure(self, epoch: float, outputs: dict[str, Tensor], y: Tensor) -> list[dict[str, Any]]:
        new = ProbeHistory()
        # Weights that are parametrised are computed when they are read, which may move buffers.
        with _undisturbed(self.model, training=False), torch.no_grad():
            for layer, z in outputs.items():
                if layer == "" and NORMALISER in self._metrics:
                    self._add_normaliser(new, epoch, z)
                if layer.partition("#")[0] in self._layers:
                    self._add_outputs(new, epoch, layer, z, y)
            for name, rank in OF_WEIGHTS.items():
                if name in self._metrics:
                    for layer, weight in self._weights():
                        finite = bool(torch.isfinite(weight).all())
                        new.add(epoch, layer, name, float(rank(weight)) if finite else float("nan"))
            if GRADIENTS in self._metrics:
                for layer, value in gradient_rms(self._inner, by="module").items():
                    new.add(epoch, layer, GRADIENTS, value)
        for one in new:
            self.history.add(*one)
        return new.table()

    def _add_outputs(self, new: ProbeHistory, epoch: float, layer: str, z: Tensor, y: Tensor) -> None:
        finite = bool(torch.isfinite(z).all())
        y = y.to(z.device)
        for name, metric in self._metrics.items():
            if name == REDUNDANCY:
                shares = k_redundancy(z, y, self._k).tolist() if finite else [float("nan")] * len(self._k)
                for k, share in zip(self._k, shares, strict=True):
                    new.add(epoch, layer, f"{REDUNDANCY}/{k}", share)
            elif metric is not None:
                new.add(epoch, layer, name, float(metric(z, y)) if finite else float("nan"))

    @staticmethod
    def _add_normaliser(new: ProbeHistory, epoch: float, z: Tensor) -> None:
        finite = bool(torch.isfinite(z).all())
        found = softmax_normaliser(z) if finite else None
        for part in ("mean", "log_mean"):
            new.add(epoch, "", f"{NORMALISER}/{part}", float(getattr(found, part)) if found else float("nan"))

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        for name, module in self._inner.named_modules():
            weight = getattr(module, "weight", None)
            if isinstance(weight, Tensor) and weight.dim() >= 2 and weight.is_floating_point():
                yield name, weight

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError(f"{OP}: the probe is closed")

    # ---- what was measured: see ProbeHistory ----

    def table(self) -> list[dict[str, Any]]:
        """One row for each epoch and layer: {"epoch": ..., "layer": ..., metric: value, ...}."""
        return self.history.table()

    def to_dict(self) -> dict[str, Any]:
        return self.history.to_dict()

    def to_json(self, path: str | Path | None = None) -> str:
        """The history as JSON; `ProbeHistory.from_json` reads it."""
        return self.history.to_json(path)

    def plot(self, target: Any, metric: str, *, by: str = "epoch") -> Any:
        """Draws one metric to a file or on matplotlib axes; see `ProbeHistory.plot`."""
        return self.history.plot(target, metric, by=by)


def _pure_entropy(z: Tensor, y: Tensor) -> float:
    try:
        return float(pure_entropy(z, y))
    except NoPureMapError:
        return float("nan")


def _metrics(metrics: Any) -> dict[str, Metric | None]:
    if isinstance(metrics, str) or not isinstance(metrics, Iterable):
        raise TypeError(f"{OP}: metrics must be a sequence of names and functions, got {metrics!r}")
    found: dict[str, Metric | None] = {}
    for one in metrics:
        if isinstance(one, str):
            if one not in NAMES:
                raise ValueError(f"{OP}: metrics must be among {', '.join(NAMES)}, got {one!r}")
            name, metric = one, OF_OUTPUTS.get(one)
        elif callable(one):
            name, metric = getattr(one, "__name__", type(one).__name__), one
        else:
            raise TypeError(f"{OP}: metrics must be names or functions, got {one!r}")
        if name in found:
            raise ValueError(f"{OP}: metrics must have different names, got {name!r} twice")
        found[name] = metric
    return found


def _labels(y: Any) -> Tensor:
    y = as_tensor(OP, "y", y)
    if y.dim() != 1 or y.is_floating_point():
        raise ValueError(f"{OP}: y must hold an integer label for each sample, got {y.dtype} of shape {tuple(y.shape)}")
    return y


def _call(model: nn.Module, inputs: Any) -> None:
    """Runs the model, not compiled, so that all hooks run."""
    where = next((p.device for p in model.parameters()), next((b.device for b in model.buffers()), None))

    def moved(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            value = as_tensor(OP, "x", value)
        return value.to(where) if isinstance(value, Tensor) and where is not None else value

    # Nothing has been compiled where the compiler, which takes seconds to import, is not there.
    with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
        if isinstance(inputs, dict):
            model(**{name: moved(value) for name, value in inputs.items()})
        elif isinstance(inputs, tuple | list):
            model(*(moved(value) for value in inputs))
        else:
            model(moved(inputs))


def _copied(module: nn.Module) -> dict[str, tuple[Tensor | None, Tensor | None]]:
    """The buffers of a module by name, and what they hold; None for what has no shape yet."""
    return {
        name: (buffer, None if buffer is None or is_lazy(buffer) else buffer.clone())
        for name, buffer in module._buffers.items()
    }


@contextmanager
def _undisturbed(model: nn.Module, training: bool) -> Iterator[None]:
    """Evaluation (or training) mode inside; modes, buffers and random states are as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(module, _copied(module)) for module in model.modules()]
    devices = {x.device.index for x in (*model.parameters(), *model.buffers()) if x.device.type == "cuda"}
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=sorted(devices)):
        model.train(training)
        try:
            yield
        finally:
            for module, mode in modes:
                module.training = mode
            with torch.no_grad():
                for module, saved in buffers:
                    module._buffers.clear()
                    for name, (buffer, value) in saved.items():
                        module._buffers[name] = buffer
                        if buffer is not None and value is not None and not torch.equal(buffer, value):
                            buffer.copy_(value)
            random.setstate(python)
            np.random.set_state(numpy)

"""Outputs of chosen submodules, caught by forward hooks: at most so many samples and units of each."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

OP = "LayerProbe"
Layers = str | type | Callable[[str, nn.Module], bool] | Iterable[Any] | None

# What turns a linear map into a representation: the layers of the thesis's chapter 5.
ACTIVATIONS = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish,
    nn.Sigmoid, nn.Tanh, nn.Hardtanh, nn.Hardsigmoid, nn.Hardswish, nn.Softplus, nn.Softsign, nn.LogSigmoid,
    nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Threshold, nn.GLU,
)  # fmt: skip
CALLS, MORE_CALLS = 64, 256  # kept of one module; and of all, not counting the first of each
MAPS = (nn.Linear, nn.modules.conv._ConvNd)


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of DataParallel, DistributedDataParallel and torch.compile."""
    while True:
        if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        elif isinstance(inside := getattr(model, "_orig_mod", None), nn.Module):  # torch.compile
            model = inside
        else:
            return model


def chosen(model: nn.Module, layers: Layers) -> dict[str, nn.Module]:
    """The submodules to look at, by name, in the order of `named_modules`."""
    named = dict(model.named_modules())
    if layers is None:
        found = _of(named, lambda _, module: isinstance(module, ACTIVATIONS))
        found = found or _of(named, lambda _, module: isinstance(module, MAPS))
        if not found:
            raise ValueError(f"{OP}: model has no activation, linear or convolution modules: name its layers")
        return found
    if isinstance(layers, str | type | nn.Module) or not isinstance(layers, Iterable):
        layers = [layers]
    wanted: dict[str, nn.Module] = {}
    for one in layers:
        found = _of(named, _test(one))
        if not found:
            raise ValueError(f"{OP}: layers: no module of model is {one!r}")
        wanted.update(found)
    if not wanted:
        raise ValueError(f"{OP}: layers must not be empty")
    return {name: module for name, module in named.items() if name in wanted}


def _test(one: Any) -> Callable[[str, nn.Module], bool]:
    if isinstance(one, str):
        return lambda name, _: name == one or fnmatch.fnmatchcase(name, one)
    if isinstance(one, type) and issubclass(one, nn.Module):
        return lambda _, module: isinstance(module, one)
    if isinstance(one, nn.Module):
        return lambda _, module: module is one
    if callable(one) and not isinstance(one, type):
        return one
    raise TypeError(f"{OP}: layers must be names, modules, types of modules or functions, got {one!r}")


def _of(named: Mapping[str, nn.Module], test: Callable[[str, nn.Module], bool]) -> dict[str, nn.Module]:
    return {name: module for name, module in named.items() if test(name, module)}


class Capture:
    """Hooks on submodules that keep a copy of the first rows of what they return, while armed.

    A module that is called several times in a forward pass has an output for each call: "name", "name#2", ...
    Kept are the first CALLS of a module, and MORE_CALLS beyond the first of each of all modules: a submodule that is
    called without the model, which alone begins a new forward pass, does not fill the memory.
    Flattened outputs of more than max_features units are reduced to so many, drawn once for each width from `seed`.
    """

    def __init__(
        self, model: nn.Module, modules: Mapping[str, nn.Module], max_samples: int, max_features: int, seed: int
    ) -> None:
        self.max_samples, self.max_features, self.seed = max_samples, max_features, seed
        self.armed = False
        self._outputs: dict[tuple[str, str], list[Tensor]] = {}
        self._rows: dict[tuple[str, str], list[int]] = {}
        self._columns: dict[tuple[int, str], Tensor] = {}
        self._names = list(modules)
        self._handles = [module.register_forward_hook(self._hook(name)) for name, module in modules.items()]
        self._handles.append(model.register_forward_pre_hook(self._forward_begins))

    def close(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self.clear()

    def clear(self) -> None:
        self._outputs.clear()
        self._rows.clear()

    def take(self, count: int) -> dict[str, Tensor]:
        """What was caught in the last forward pass, (rows, units) by name; forgets it. ValueError if a layer returned
        another number of rows than `count`."""
        outputs: dict[str, Tensor] = {}
        for name in self._names:
            # The replicas of DataParallel hold consecutive parts of a batch, in the order of their devices.
            keys = sorted((key for key in self._outputs if key[0] == name), key=lambda key: _device_order(key[1]))
            for call in range(max((len(self._outputs[key]) for key in keys), default=0)):
                called = [key for key in keys if call < len(self._outputs[key])]
                label = name if call == 0 else f"{name}#{call + 1}"
                rows = sum(self._rows[key][call] for key in called)
                if rows != count:
                    self.clear()
                    raise ValueError(
                        f"{OP}: layer {label!r} returned {rows} rows for {count} labels; choose other layers"
                    )
                parts = [self._outputs[key][call] for key in called]
                outputs[label] = torch.cat([part.to(parts[0].device) for part in parts])[: self.max_samples]
        self.clear()
        return outputs

    def _forward_begins(self, module: nn.Module, args: Any) -> None:
        if self.armed:
            self.clear()

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if self.armed:
                self._keep(name, output)

        return hook

    def _keep(self, name: str, output: Any) -> None:
        found = next(tensors(output), None)
        if found is None or found.dim() == 0:
            raise TypeError(f"{OP}: layer {name!r} returns no tensor with samples; choose other layers")
        key = (name, str(found.device))
        if self._full(key):
            return
        with torch.no_grad():
            flat = found.detach()[: self.max_samples]
            flat = flat[:, None] if flat.dim() == 1 else flat.flatten(1)
            if flat.shape[1] > self.max_features:
                flat = flat.index_select(1, self._columns_of(flat.shape[1], flat.device))
            else:
                flat = flat.clone()  # what follows may work in place
        self._outputs.setdefault(key, []).append(flat)
        self._rows.setdefault(key, []).append(found.shape[0])

    def _full(self, key: tuple[str, str]) -> bool:
        calls = len(self._outputs.get(key, ()))
        more = sum(len(kept) - 1 for (_, device), kept in self._outputs.items() if device == key[1])
        return calls >= CALLS or (calls > 0 and more >= MORE_CALLS)

    def _columns_of(self, width: int, device: torch.device) -> Tensor:
        key = (width, str(device))
        if key not in self._columns:
            generator = torch.Generator().manual_seed(self.seed)
            drawn = torch.randperm(width, generator=generator)[: self.max_features].sort().values
            self._columns[key] = drawn.to(device)
        return self._columns[key]


def tensors(output: Any) -> Iterator[Tensor]:
    """The tensors in what a module returns: itself, or those of its tuples, lists and dictionaries."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        for value in output.values():
            yield from tensors(value)
    elif isinstance(output, list | tuple):
        for value in output:
            yield from tensors(value)


def _device_order(device: str) -> tuple[str, int]:
    kind, _, index = device.partition(":")
    return kind, int(index or 0)

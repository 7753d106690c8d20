"""The activation of a network, by name, module or function."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from effdl_fast.ops._activations import ACTIVATIONS

# Those that the kernels know, as modules.
_MODULES: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "celu": nn.CELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "leaky_relu": nn.LeakyReLU,
}
# Further names, through PyTorch.
_OTHERS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "selu": nn.SELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "hardtanh": nn.Hardtanh,
    "mish": nn.Mish,
}
NAMES = (*_MODULES, *_OTHERS)


@dataclass(frozen=True)
class Activation:
    """`kernel` names it where the compiled ops have it, and is None where PyTorch computes it."""

    name: str | None
    kernel: str | None
    function: Callable[[Tensor], Tensor]

    def module(self) -> nn.Module:
        """A module of its own that does the same."""
        if isinstance(self.function, nn.Module):
            return copy.deepcopy(self.function).requires_grad_()
        return _Function(self.function)


class _Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class _Adapted(nn.Module):
    """A module with parameters or buffers, which take the dtype and device of what it is given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        states = (*self.inner.parameters(), *self.inner.buffers())
        if any(t.device != x.device or (t.is_floating_point() and t.dtype != x.dtype) for t in states):
            self.inner.to(x.device, x.dtype)
        return self.inner(x)


def resolve(activation: Any) -> Activation:
    """The activation called so; or a function of a tensor, element by element; or a module that is one.

    Of a module it is a copy as it is now, in evaluation mode. TypeError for anything else, ValueError for an unknown
    name and for a function of more than single elements.
    """
    if isinstance(activation, str):
        if activation not in NAMES:
            raise ValueError(
                f"activation must be one of {', '.join(NAMES)}, a module or a function, got {activation!r}"
            )
        module = (_MODULES.get(activation) or _OTHERS[activation])()
        return Activation(activation, activation if activation in ACTIVATIONS else None, module)
    if isinstance(activation, nn.Module):
        for name, make in {**_MODULES, **_OTHERS}.items():
            if type(activation) is type(made := make()) and repr(activation) == repr(made):
                return resolve(name)
        own = copy.deepcopy(activation).eval().requires_grad_(False)
        stateful = any(True for _ in (*own.parameters(), *own.buffers()))
        return Activation(None, None, _elementwise(_Adapted(own) if stateful else own))
    if isinstance(activation, type):
        raise TypeError(f"activation must be an instance, {activation.__name__}(...), got the class")
    if callable(activation):
        named = {torch.relu: "relu", torch.tanh: "tanh", torch.sigmoid: "sigmoid"}.get(activation)
        return resolve(named) if named else Activation(None, None, _elementwise(activation))
    raise TypeError(f"activation must be a name, a module or a function, got {type(activation).__name__}")


def _elementwise(function: Any) -> Any:
    """function, tried on a few values. What it cannot do with those (of that width, on the CPU) is left to its use."""
    x = torch.linspace(-2.0, 2.5, 12).view(4, 3)
    try:
        with torch.no_grad():
            whole, rows, columns = function(x.clone()), function(x[:2].clone()), function(x[:, 1:].clone())
    except Exception:
        return function
    if not isinstance(whole, Tensor):
        raise TypeError(f"activation must give a tensor, got {type(whole).__name__}")
    if whole.shape != x.shape:
        raise ValueError(f"activation must keep shapes, but gives {tuple(whole.shape)} of {tuple(x.shape)}")
    for part, same in ((rows, whole[:2]), (columns, whole[:, 1:])):
        if part.shape != same.shape or not torch.allclose(part, same, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise ValueError("activation must work element by element and always give the same; what this one gives "
                             "for a value depends on others, or on chance")  # fmt: skip
    return function

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
            return copy.deepcopy(self.function)
        return _Function(self.function)


class _Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def resolve(activation: Any) -> Activation:
    """The activation called so; or a module, or a function of a tensor, element by element."""
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
        return Activation(None, None, activation)
    if callable(activation):
        named = {torch.relu: "relu", torch.tanh: "tanh", torch.sigmoid: "sigmoid"}.get(activation)
        return resolve(named) if named else Activation(None, None, activation)
    raise TypeError(f"activation must be a name, a module or a function, got {type(activation).__name__}")

"""One list of cases per op feeds its tests, its gradient check and its benchmarks: `cases/<op>.py` holds `CASES`."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Call(NamedTuple):
    """One call of an op: `op(*args, **kwargs)`."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    differentiable: tuple[int, ...] = (0,)  # positions in args that get a gradient

    def with_grad(self, **overrides: Any) -> "Call":
        """The same call on detached inputs that require grad; `overrides` replaces keyword arguments.

        Values, strides and storage are kept: a transposed input stays transposed, and shares memory with the original.
        """
        args = list(self.args)
        for i in self.differentiable:
            args[i] = args[i].detach().requires_grad_()
        return Call(tuple(args), {**self.kwargs, **overrides}, self.differentiable)

    def to(self, dtype: torch.dtype) -> "Call":
        """The same call in another floating-point dtype; exact when it is a wider one."""

        def convert(value: Any) -> Any:
            return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

        return Call(tuple(map(convert, self.args)), {k: convert(v) for k, v in self.kwargs.items()},
                    self.differentiable)  # fmt: skip

    def leaves(self) -> tuple[Tensor, ...]:
        return tuple(self.args[i] for i in self.differentiable)


def minimal_bytes(call: Call) -> int:
    """Every tensor argument read once, every gradient written once: no kernel of loss and gradient moves less."""
    tensors = [a for a in call.args if isinstance(a, Tensor)]
    tensors += [call.args[i] for i in call.differentiable]
    return sum(t.numel() * t.element_size() for t in tensors)


@dataclass(frozen=True)
class Case:
    """Inputs of an op.

    make(device, dtype, generator) -> Call. The generator is a CPU generator, and values are drawn on the CPU and then
    moved, so that every device sees the same numbers.
    """

    name: str
    make: Callable[[torch.device, torch.dtype, torch.Generator], Call]
    test: bool = True  # False: too large for every backend and dtype, benchmark only
    gradcheck: bool = False  # small enough for finite differences
    bench: bool = False
    dtypes: tuple[torch.dtype, ...] = field(
        default=(torch.float32, torch.bfloat16, torch.float16, torch.float64), repr=False
    )

    def call(self, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32, seed: int = 0) -> Call:
        return self.make(torch.device(device), dtype, torch.Generator().manual_seed(seed))

    def __str__(self) -> str:
        return self.name


def load(op: str) -> list[Case]:
    """The cases of an op by its name."""
    cases: list[Case] = importlib.import_module(f"effdl_fast.testing.cases.{op}").CASES
    return cases

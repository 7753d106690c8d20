"""The gradient-amplifying losses as modules (thesis ch. 4)."""

from typing import Any

from torch import Tensor, nn

from effdl_fast import ops


class _GALoss(nn.Module):
    """Holds the arguments of a loss. `weight` and a tensor `alpha` are buffers: they move with the module."""

    weight: Tensor | None

    def __init__(self, weight: Tensor | None = None, **options: Any) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        for name, value in options.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)
        self._names = tuple(options)

    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._names}

    def extra_repr(self) -> str:
        shown = {n: tuple(v.shape) if isinstance(v, Tensor) else v for n, v in self._options().items()}
        return ", ".join(f"{n}={v!r}" for n, v in shown.items())


class ExpGALoss(_GALoss):
    """Module form of `effdl_fast.ops.exp_ga_loss`: same arguments, same shapes (thesis sec. 4.5 and 4.6)."""

    def __init__(self, *, alpha: float | Tensor = 1.0, target_value: float = 1.0, negative_value: float = 0.0,
                 weight: Tensor | None = None, ignore_index: int = -100, reduction: str = "mean",
                 inplace: bool = False, clamp: float | None = None) -> None:  # fmt: skip
        super().__init__(weight, alpha=alpha, target_value=target_value, negative_value=negative_value,
                         ignore_index=ignore_index, reduction=reduction, inplace=inplace, clamp=clamp)  # fmt: skip

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return ops.exp_ga_loss(logits, target, weight=self.weight, **self._options())


class Pow3GALoss(_GALoss):
    """Module form of `effdl_fast.ops.pow3_ga_loss`: same arguments, same shapes (thesis sec. 4.7 and 4.8)."""

    def __init__(self, *, alpha: float | Tensor = 1e-3, beta: float = 0.0, target_value: float = 10.0,
                 negative_value: float = 0.0, weight: Tensor | None = None, ignore_index: int = -100,
                 reduction: str = "mean", inplace: bool = False) -> None:  # fmt: skip
        super().__init__(weight, alpha=alpha, beta=beta, target_value=target_value, negative_value=negative_value,
                         ignore_index=ignore_index, reduction=reduction, inplace=inplace)  # fmt: skip

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return ops.pow3_ga_loss(logits, target, weight=self.weight, **self._options())


class LinearGALoss(_GALoss):
    """Module form of `effdl_fast.ops.linear_ga_loss`: same arguments, same shapes (thesis sec. 4.3)."""

    def __init__(self, *, target_value: float = 1.0, negative_value: float = 0.0, weight: Tensor | None = None,
                 ignore_index: int = -100, reduction: str = "mean", inplace: bool = False) -> None:  # fmt: skip
        super().__init__(weight, target_value=target_value, negative_value=negative_value, ignore_index=ignore_index,
                         reduction=reduction, inplace=inplace)  # fmt: skip

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return ops.linear_ga_loss(logits, target, weight=self.weight, **self._options())

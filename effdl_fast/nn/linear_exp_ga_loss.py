"""The classifier head together with its exponential gradient-amplifying loss (thesis sec. 4.5 and 4.6)."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effdl_fast import ops


class LinearExpGALoss(nn.Module):
    """A linear head of `classes` outputs and `effdl_fast.ops.linear_exp_ga_loss` on it: no logits are stored.

    `forward(input, target)` is the loss, `logits(input)` the head alone, for evaluation. Parameters `weight` (C, D) and
    `bias` (C,) have the names, shapes and initial values of nn.Linear's, so its state dict loads here (with
    strict=False if alpha or class_weight is a tensor, and so a buffer).

    Args:
        in_features, classes: D and C. With `class_group`, classes is this rank's slice.
        bias: whether the head has one.
        options: those of `linear_exp_ga_loss`; tensors (alpha, class_weight) become buffers. A module with a
            class_group cannot be pickled or deep-copied: save its state dict.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, in_features: int, classes: int, bias: bool = True, *, device: Any = None,
                 dtype: torch.dtype | None = None, **options: Any) -> None:  # fmt: skip
        super().__init__()
        unknown = set(options) - set(ops.linear_exp_ga_loss.__kwdefaults__ or ())
        if unknown:
            raise TypeError(f"LinearExpGALoss: unknown option {sorted(unknown)[0]!r}")
        head = nn.Linear(in_features, classes, bias, device=device, dtype=dtype)
        self.weight, self.bias = head.weight, head.bias
        self._names = tuple(options)
        for name, value in options.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        options = {name: getattr(self, name) for name in self._names}
        return ops.linear_exp_ga_loss(input, self.weight, target, self.bias, **options)

    def logits(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight, self.bias)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if state.get("class_group") is not None:
            raise TypeError(
                "LinearExpGALoss: a module with a class_group cannot be pickled or copied; save state_dict()"
            )
        return state

    def extra_repr(self) -> str:
        classes, features = self.weight.shape
        shown = {n: getattr(self, n) for n in self._names}
        shown = {n: tuple(v.shape) if isinstance(v, Tensor) else v for n, v in shown.items()}
        more = "".join(f", {n}={v!r}" for n, v in shown.items())
        return f"in_features={features}, classes={classes}, bias={self.bias is not None}{more}"

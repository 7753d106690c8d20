"""Linear outputs with the squared error, the simplest gradient amplification (thesis sec. 4.3)."""

from torch import Tensor

from effdl_fast.ops._dispatch import REFERENCE, route
from effdl_fast.ops._ga_loss import ga_loss, register
from effdl_fast.ops._ga_loss_ref import reference

register("linear_ga_loss")


def linear_ga_loss(
    logits: Tensor,
    target: Tensor,
    *,
    target_value: float = 1.0,
    negative_value: float = 0.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    inplace: bool = False,
) -> Tensor:
    """Half the squared error against the one-hot (or dense) target: sum_k (x_k - t_k)^2 / 2, gradient x - t.

    Thesis sec. 4.3 ("Linear+MSE"; Table 4.2 uses targets {-1, 1}). The mean is over samples, not over samples times
    classes as in F.mse_loss. All arguments, the returned loss and the errors are those of `exp_ga_loss`.
    """
    way = route("linear_ga_loss", "logits", logits)
    if way == REFERENCE:
        return linear_ga_loss_ref(
            logits, target, target_value=target_value, negative_value=negative_value, weight=weight,
            ignore_index=ignore_index, reduction=reduction)  # fmt: skip
    return ga_loss(
        "linear_ga_loss", way, logits, target, reduction, inplace, None, None, None, target_value, negative_value,
        weight, ignore_index)  # fmt: skip


def linear_ga_loss_ref(
    logits: Tensor,
    target: Tensor,
    *,
    target_value: float = 1.0,
    negative_value: float = 0.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    inplace: bool = False,
) -> Tensor:
    """`linear_ga_loss` in plain PyTorch. `inplace` has no effect."""

    def term(x: Tensor, t: Tensor, alpha: None) -> Tensor:
        return (x - t) ** 2 / 2

    return reference("linear_ga_loss", term, logits, target, None, target_value, negative_value, weight, ignore_index,
                     reduction)  # fmt: skip

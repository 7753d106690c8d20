"""Cubic gradient amplification (thesis sec. 4.7 and 4.8)."""

from torch import Tensor

from effdl_fast.ops._dispatch import REFERENCE, route
from effdl_fast.ops._ga_loss import ga_loss, register
from effdl_fast.ops._ga_loss_ref import reference

register("pow3_ga_loss")


def pow3_ga_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float | Tensor = 1e-3,
    beta: float = 0.0,
    target_value: float = 10.0,
    negative_value: float = 0.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    inplace: bool = False,
) -> Tensor:
    """Negative correlation loss: sum_k alpha x_k^4 / 4 + beta x_k - t_k x_k, gradient alpha x^3 + beta - t.

    Thesis sec. 4.7 (activation y = alpha x^3 + beta) and 4.8 (loss). The thesis uses alpha 0.001, beta 0 or 0.4 and
    targets such as {0, 10} or {-2, 10}.

    Args:
        beta: the activation's offset, a number.

    All other arguments, the returned loss and the errors are those of `exp_ga_loss`.
    """
    way = route("pow3_ga_loss", "logits", logits)
    if way == REFERENCE:
        return pow3_ga_loss_ref(
            logits, target, alpha=alpha, beta=beta, target_value=target_value, negative_value=negative_value,
            weight=weight, ignore_index=ignore_index, reduction=reduction)  # fmt: skip
    return ga_loss(
        "pow3_ga_loss", way, logits, target, reduction, inplace, alpha, beta, None, target_value, negative_value,
        weight, ignore_index)  # fmt: skip


def pow3_ga_loss_ref(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float | Tensor = 1e-3,
    beta: float = 0.0,
    target_value: float = 10.0,
    negative_value: float = 0.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    inplace: bool = False,
) -> Tensor:
    """`pow3_ga_loss` in plain PyTorch. `inplace` has no effect."""

    def term(x: Tensor, t: Tensor, alpha: float | Tensor) -> Tensor:
        return alpha * x**4 / 4 + beta * x - t * x

    return reference("pow3_ga_loss", term, logits, target, alpha, target_value, negative_value, weight, ignore_index,
                     reduction)  # fmt: skip

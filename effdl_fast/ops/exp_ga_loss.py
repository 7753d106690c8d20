"""Exponential gradient amplification (thesis sec. 4.5 and 4.6)."""

import torch
from torch import Tensor

from effdl_fast.ops._dispatch import REFERENCE, route
from effdl_fast.ops._ga_loss import ga_loss, register
from effdl_fast.ops._ga_loss_ref import reference

register("exp_ga_loss")


def exp_ga_loss(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float | Tensor = 1.0,
    target_value: float = 1.0,
    negative_value: float = 0.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    inplace: bool = False,
    clamp: float | None = None,
) -> Tensor:
    """Sparse cross-entropy of exponential outputs y = alpha e^x: sum_k y_k - t_k ln y_k, gradient y - t.

    Thesis sec. 4.5 (activation) and 4.6 (loss). Unlike softmax cross-entropy it is separable over classes and not
    invariant to a shift of the logits: float32 overflows to inf at x + ln(alpha) > 88.7, and a float16 gradient at
    > 11.09; see `clamp`. With alpha_i = exp(-logsumexp(x_i)), detached, it equals cross-entropy plus 1 with the same
    gradient.

    Args:
        logits: (N, C), (N, C, d1, ...) or (C,); float32, float64, float16 or bfloat16; any strides, read in place.
            float16 and bfloat16 are computed in float32.
        target: integer class indices of shape (N,), (N, d1, ...) or (), or a dense target with the shape and dtype of
            logits. A class with target 0 adds no log term, so logits of -inf are fine there.
        alpha: > 0; a number, a tensor per class (C,) or per sample (N,) or (N, d1, ...). If C equals N, say which with
            (1, C) or (N, 1). A constant: it gets no gradient.
        target_value, negative_value: t of the positive class and of all others (class indices only). The thesis uses
            larger targets such as {0, 6} or {0, 16}.
        weight: (C,) class weights. With class indices a sample's loss is multiplied by weight[target], and the mean
            divides by the sum of these, as in F.cross_entropy; with dense targets class k's term is multiplied by
            weight[k] and the mean divides by N.
        ignore_index: samples with this target have loss 0 and gradient 0, whatever their logits.
        reduction: "none" (one loss per sample, shape of a class-index target), "mean" over the samples that are not
            ignored, or "sum". A mean over nothing is NaN.
        inplace: overwrite logits with the gradient instead of allocating it; the backward pass applies the upstream
            gradient (and for float16 means the division) there too. If autograd saved the old values for another
            backward, its version check raises; plain reads afterwards see the gradient. A leaf that requires grad is
            refused. No effect under torch.compile, torch.func and for tensor subclasses.
        clamp: where x + ln(alpha) exceeds this number, the exponential goes on as its tangent, so that neither loss nor
            gradient overflows. None: never.

    Returns:
        The loss in the dtype of logits (float32 for 16-bit logits under autocast).

    Raises:
        ValueError, TypeError: wrong shape, dtype, device, alpha <= 0, or a target out of range, naming its position.
            On CUDA values are not looked at before the kernel runs: such a sample's loss and gradient become NaN.
        RuntimeError: create_graph=True. `exp_ga_loss_ref` has all derivatives; torch.func transforms run it.
    """
    way = route("exp_ga_loss", "logits", logits)
    if way == REFERENCE:
        return exp_ga_loss_ref(
            logits, target, alpha=alpha, target_value=target_value, negative_value=negative_value, weight=weight,
            ignore_index=ignore_index, reduction=reduction, clamp=clamp)  # fmt: skip
    return ga_loss(
        "exp_ga_loss", way, logits, target, reduction, inplace, alpha, None, clamp, target_value, negative_value,
        weight, ignore_index)  # fmt: skip


def exp_ga_loss_ref(
    logits: Tensor,
    target: Tensor,
    *,
    alpha: float | Tensor = 1.0,
    target_value: float = 1.0,
    negative_value: float = 0.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    inplace: bool = False,
    clamp: float | None = None,
) -> Tensor:
    """`exp_ga_loss` in plain PyTorch. `inplace` has no effect."""

    def term(x: Tensor, t: Tensor, alpha: float | Tensor) -> Tensor:
        ln_alpha = torch.as_tensor(alpha, dtype=x.dtype, device=x.device).log()
        z = x + ln_alpha
        if clamp is None:
            penalty = alpha * torch.exp(x) if isinstance(alpha, float | int) else torch.exp(z)
        else:
            penalty = torch.exp(z.clamp(max=clamp)) * (1 + (z - clamp).clamp(min=0))
        return penalty - torch.where(t == 0, 0.0, t * torch.where(t == 0, 0.0, z))

    return reference("exp_ga_loss", term, logits, target, alpha, target_value, negative_value, weight, ignore_index,
                     reduction)  # fmt: skip

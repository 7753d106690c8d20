"""The gradient-amplifying losses in plain PyTorch, and the shape rules that they share with the compiled ops."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

REDUCTIONS = {"none": 0, "mean": 1, "sum": 2}
NONE, MEAN, SUM = 0, 1, 2


def reduction_code(op: str, reduction: str) -> int:
    try:
        return REDUCTIONS[reduction]
    except (KeyError, TypeError):
        raise ValueError(f"{op}: reduction must be 'none', 'mean' or 'sum', got {reduction!r}") from None


def sample_shape(logits: Tensor) -> torch.Size:
    """Shape of one number per sample: (N, d1, ...) for logits (N, C, d1, ...), () for (C,)."""
    return logits.shape[:1] + logits.shape[2:] if logits.dim() > 1 else logits.shape[:0]


def check_target(op: str, logits: Tensor, target: Tensor) -> None:
    if logits.dim() < 1:
        raise ValueError(f"{op}: logits must be (C,), (N, C) or (N, C, d1, ...), got a 0-d tensor")
    if target.is_floating_point():
        if target.shape != logits.shape:
            raise ValueError(
                f"{op}: a dense target must have the shape of logits, {tuple(logits.shape)}, got {tuple(target.shape)}"
            )
    elif target.shape != sample_shape(logits):
        raise ValueError(
            f"{op}: target must hold one class index per sample, shape {tuple(sample_shape(logits))} for logits "
            f"{tuple(logits.shape)}, got {tuple(target.shape)}"
        )


def spread_alpha(op: str, alpha: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor alpha with the dimensions of logits of this shape: varying along the classes or along the others."""
    if alpha.dim() == 0:
        return alpha
    ones = (1,) * (len(shape) - 2)
    given = tuple(alpha.shape)
    if len(shape) == 1:
        if given in (tuple(shape), (1,)):
            return alpha
    else:
        per_class, per_sample = given == (shape[1],), given == (shape[0],)
        if per_class and per_sample and shape[0] > 1:
            raise ValueError(
                f"{op}: alpha of shape {given} could be per class or per sample for logits {tuple(shape)}: give it as "
                "(1, C) or (N, 1)"
            )
        if per_class:
            return alpha.reshape(1, -1, *ones)
        if per_sample:
            return alpha.reshape(-1, 1, *ones)
        if given == (shape[0], *shape[2:]):
            return alpha.unsqueeze(1)
        if len(given) == len(shape) and all(a in (1, b) for a, b in zip(given, shape, strict=True)):
            if given[1] != 1 and any(a != 1 for a in (given[0], *given[2:])):
                raise ValueError(f"{op}: alpha varies per class or per sample, not both: got shape {given}")
            return alpha
    raise ValueError(
        f"{op}: alpha must be a number or a tensor per class (C,) or per sample (N,) or (N, d1, ...), got shape "
        f"{given} for logits {tuple(shape)}"
    )


def reference(
    op: str,
    term: Callable[[Tensor, Tensor, Any], Tensor],
    logits: Tensor,
    target: Tensor,
    alpha: Any,
    target_value: float,
    negative_value: float,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
) -> Tensor:
    """The loss in plain PyTorch: any device, any order of derivative, torch.func transforms.

    term(x, t, alpha) is l(x, t). Values are not looked at, so that it traces: a target out of range counts as "no
    positive class", and a tensor alpha that is not positive gives NaN or a wrong loss.
    """
    code = reduction_code(op, reduction)
    check_target(op, logits, target)
    batched = logits.dim() > 1
    x = logits if batched else logits.unsqueeze(0)
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
    per_class = (1, -1) + (1,) * (x.dim() - 2)
    if isinstance(alpha, Tensor):
        alpha = spread_alpha(op, alpha.to(x.dtype), logits.shape)
    elif alpha is not None and not alpha > 0:
        raise ValueError(f"{op}: alpha must be positive, got {alpha}")
    if weight is not None and weight.shape != x.shape[1:2]:
        raise ValueError(
            f"{op}: weight must hold one number per class, shape ({x.shape[1]},), got {tuple(weight.shape)}"
        )
    if target.is_floating_point():
        t = (target if batched else target.unsqueeze(0)).to(x.dtype)
        loss = term(x, t, alpha)
        if weight is not None:
            loss = loss * weight.to(x.dtype).view(per_class)
        rows = loss.sum(1)
        denominator = torch.full((), rows.numel(), dtype=x.dtype, device=x.device)
    else:
        index = target if batched else target.unsqueeze(0)
        ignored = index == ignore_index
        classes = torch.arange(x.shape[1], device=x.device).view(per_class)
        positive = index.unsqueeze(1) == classes
        t = torch.where(positive, target_value, negative_value).to(x.dtype)
        # Ignored logits are replaced, not multiplied by zero: they may be infinite or NaN.
        loss = term(x.masked_fill(ignored.unsqueeze(1), 0.0), t, alpha)
        counts = (~ignored).to(x.dtype)
        if weight is not None:
            counts = counts * weight.to(x.dtype)[index.long().clamp(0, weight.shape[0] - 1)]
        rows = torch.where(ignored, 0.0, loss.sum(1)) * counts
        denominator = counts.sum()
    if code == NONE:
        result = rows if batched else rows.squeeze(0)
    else:
        result = rows.sum() / denominator if code == MEAN else rows.sum()
    autocast = torch.is_autocast_enabled(logits.device.type)
    return result if autocast and logits.dtype != torch.float64 else result.to(logits.dtype)

"""Classifier head and exponential gradient amplification in one op that never holds all logits (thesis sec. 4.5, 4.6).

The loss is separable over classes, so the logits are made, turned into their own gradient and used up tile by tile: a
tile is some rows by some classes, and two tiles need nothing from each other. Softmax cross-entropy would need every
row's normaliser first.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from effdl_fast.ops._dispatch import REFERENCE, route
from effdl_fast.ops._ga_loss_ref import NONE, reduction_code
from effdl_fast.ops._linear_exp_ga_loss import Problem, loss_of
from effdl_fast.ops.exp_ga_loss import exp_ga_loss_ref

_OP = "linear_exp_ga_loss"
DEFAULT_CHUNK_BYTES = 16 << 20  # measured in docs/ops/linear_exp_ga_loss.md


def linear_exp_ga_loss(
    input: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    alpha: float | Tensor = 1.0,
    target_value: float = 1.0,
    negative_value: float = 0.0,
    class_weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    clamp: float | None = None,
    class_group: Any = None,
    class_start: int | None = None,
    class_total: int | None = None,
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
) -> Tensor:
    """`exp_ga_loss(F.linear(input, weight, bias), target)` without ever holding all logits. Thesis sec. 4.5 and 4.6.

    Peak extra memory is chunk_bytes, plus the gradients themselves, plus for 16-bit inputs a float32 sum of the smaller
    of the gradients of input and weight (float16: both gradients stay float32 until the backward). "mean" and "sum"
    compute the gradients in the forward, where the logits are, so the head costs its three matrix products and no more;
    "none" recomputes the logits in the backward, because a sample's upstream gradient is not known before.

    Args:
        input: (..., D), the features; float32, float64, float16 or bfloat16. Under autocast cast as F.linear's are.
        weight: (C, D) in the dtype of input. 16-bit gradients are summed over tiles in float32 and rounded once at the
            end; on the CPU each bfloat16 tile's product is rounded before it is added.
        target: class indices of shape (...), or a dense target (..., C) with the dtype of input (under autocast
            cast to it).
        bias: (C,) in the dtype of input.
        alpha: > 0; a number, or a tensor per class (C,) or (1, C), or per sample (...) or (N, 1), N being the product
            of the leading dimensions. A constant: it gets no gradient.
        target_value, negative_value, ignore_index, reduction, clamp: as in `exp_ga_loss`. Ignored samples add exactly 0
            to every gradient, even if their features are inf or NaN.
        class_weight: (C,), the `weight` of `exp_ga_loss`.
        class_group: a torch.distributed group over whose ranks the classes are split. Rank r holds the rows
            [class_start, class_start + C) of a head of class_total classes: weight, bias, alpha per class and a dense
            target are the local slice (sizes may differ between ranks); input, class-index target, alpha per sample and
            class_weight (class_total,) are the same on every rank. Every rank gets the loss over all classes, the full
            gradient of input, and the gradients of its own weight and bias. The gradient of the logits needs no
            communication. Communicated: one all-reduce of the loss (one float64 per row for "none", else one) with five
            numbers that check that the slices tile [0, class_total) and that the ranks see the same target (input is
            not compared); one all-reduce of the gradient of input (float32 for 16-bit inputs), in the forward for
            "mean" and "sum", in the backward for "none". All ranks must call it alike: same reduction, and input
            requiring grad on all or none.
        class_start, class_total: give both, on all ranks, to spare the all-gather of the slice sizes that otherwise
            finds them in rank order at every call (and waits for the device).
        chunk_bytes: memory for the tile of logits. Only speed and rounding depend on it.

    Returns:
        The loss in the dtype of input (float32 for 16-bit inputs under autocast): () or, for "none", (...).

    Raises:
        ValueError, TypeError: an argument of the wrong shape, dtype, device or value, by name; a target out of range,
            by position; slices that do not tile the classes. On CUDA values are not looked at: an out-of-range target
            makes its sample's loss and gradients NaN, and slices that do not fit trip a device-side assertion.
        RuntimeError: create_graph=True. `linear_exp_ga_loss_ref` has all derivatives; torch.func transforms run it.
    """
    if route(_OP, "input", input) == REFERENCE:
        return linear_exp_ga_loss_ref(
            input, weight, target, bias, alpha=alpha, target_value=target_value, negative_value=negative_value,
            class_weight=class_weight, ignore_index=ignore_index, reduction=reduction, clamp=clamp,
            class_group=class_group, class_start=class_start, class_total=class_total)  # fmt: skip
    code = reduction_code(_OP, reduction)
    autocast = torch.is_autocast_enabled(input.device.type)
    if autocast:
        to = torch.get_autocast_dtype(input.device.type)
        input, weight, bias = _autocast(input, to), _autocast(weight, to), None if bias is None else _autocast(bias, to)
    start, total = _slice_arguments(weight, class_group, class_start, class_total)
    lead = input.shape[:-1]
    if not isinstance(target, Tensor):
        raise TypeError(f"{_OP}: target must be a torch.Tensor, got {type(target).__name__}")
    if autocast and target.is_floating_point():
        target = target.to(input.dtype)
    if not isinstance(ignore_index, int):
        raise TypeError(f"{_OP}: ignore_index must be an integer, got {type(ignore_index).__name__}")
    _check_tensors(input, weight, target, bias, class_weight, total)
    _check_numbers(target_value, negative_value, clamp, chunk_bytes)
    dense = target.is_floating_point()
    problem = Problem(
        input.reshape(-1, input.shape[-1]), weight, target.reshape(-1, weight.shape[0]) if dense else _index(target),
        bias, _alpha(alpha, input, weight.shape[0]), target_value, negative_value,
        None if class_weight is None else _float_constant("class_weight", class_weight), ignore_index, code,
        clamp, class_group, start, total, chunk_bytes)  # fmt: skip
    loss = loss_of(problem)
    if code == NONE:
        loss = loss.view(lead)
    return loss if autocast else loss.to(input.dtype)


# ---- arguments ----


def _autocast(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype) if x.is_floating_point() and x.dtype != torch.float64 else x


def _slice_arguments(weight: Tensor, group: Any, start: int | None, total: int | None) -> tuple[int, int]:
    """class_start and class_total as numbers; total is -1 where the ranks still have to find out."""
    if group is None:
        if start is not None or total is not None:
            raise ValueError(f"{_OP}: class_start and class_total need a class_group")
        return 0, weight.shape[0]
    if not torch.distributed.is_available() or not isinstance(group, torch.distributed.ProcessGroup):
        raise TypeError(f"{_OP}: class_group must be a torch.distributed group of this process, got {group!r}")
    if start is None and total is None:
        return 0, -1
    if start is None or total is None:
        raise ValueError(f"{_OP}: give both class_start and class_total, or neither")
    if start < 0 or start + weight.shape[0] > total:
        raise ValueError(
            f"{_OP}: class_start {start} and {weight.shape[0]} rows of weight do not fit class_total {total}"
        )
    return start, total


def _check_tensors(input: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None, class_weight: Tensor | None,
                   total: int) -> None:  # fmt: skip
    if input.dtype not in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        raise TypeError(f"{_OP}: input must be float32, float64, float16 or bfloat16, got {input.dtype}")
    if input.dim() < 1:
        raise ValueError(f"{_OP}: input must be (..., D), got a 0-d tensor")
    if weight.dim() != 2 or weight.shape[1] != input.shape[-1] or weight.numel() == 0:
        raise ValueError(
            f"{_OP}: weight must be (C, D) with C and D >= 1, D = {input.shape[-1]} as in input, got {_shape(weight)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{_OP}: bias must be (C,) = ({weight.shape[0]},), got {_shape(bias)}")
    for name, x in (("weight", weight), ("bias", bias)):
        if x is not None and x.dtype != input.dtype:
            raise TypeError(f"{_OP}: {name} must have the dtype of input, got {x.dtype} and {input.dtype}")
    for name, x in (("weight", weight), ("target", target), ("bias", bias), ("class_weight", class_weight)):
        if x is not None and x.device != input.device:
            raise ValueError(f"{_OP}: {name} must be on the device of input, got {x.device} and {input.device}")
    if target.is_floating_point():
        expected = (*input.shape[:-1], weight.shape[0])
        if target.shape != expected:
            raise ValueError(f"{_OP}: a dense target must be (..., C) = {expected}, got {_shape(target)}")
        if target.dtype != input.dtype:
            raise TypeError(f"{_OP}: a dense target must have the dtype of input, got {target.dtype} and {input.dtype}")
        if target.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{_OP}: target gets no gradient: pass target.detach()")
    elif target.shape != input.shape[:-1]:
        expected = tuple(input.shape[:-1])
        raise ValueError(f"{_OP}: target must hold one class index per sample, {expected}, got {_shape(target)}")
    if class_weight is not None and (class_weight.dim() != 1 or (total >= 0 and class_weight.shape[0] != total)):
        raise ValueError(f"{_OP}: class_weight must hold one number per class, ({total},), got {_shape(class_weight)}")


def _check_numbers(target_value: float, negative_value: float, clamp: float | None, chunk_bytes: int) -> None:
    for name, x in (("target_value", target_value), ("negative_value", negative_value), ("clamp", clamp)):
        if x is not None or name != "clamp":
            if isinstance(x, Tensor) or not isinstance(x, float | int):
                raise TypeError(f"{_OP}: {name} must be a number, got {type(x).__name__}")
            if not math.isfinite(x):
                raise ValueError(f"{_OP}: {name} must be finite, got {x}")
    if chunk_bytes < 1:
        raise ValueError(f"{_OP}: chunk_bytes must be positive, got {chunk_bytes}")


def _shape(x: Tensor) -> tuple[int, ...]:
    return tuple(x.shape)


def _index(target: Tensor) -> Tensor:
    if target.dtype not in (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8):
        raise TypeError(
            f"{_OP}: target must be integer class indices or a dense floating-point tensor, got {target.dtype}"
        )
    return target.long().reshape(-1)


def _float_constant(name: str, value: Tensor) -> Tensor:
    """value as the kernels read it: float32 or float64."""
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{_OP}: {name} is a constant of the loss and gets no gradient: pass {name}.detach()")
    if not value.is_floating_point():
        raise TypeError(f"{_OP}: {name} must be a floating-point tensor, got {value.dtype}")
    return value if value.dtype in (torch.float32, torch.float64) else value.to(torch.float32)


def _alpha(alpha: float | Tensor, input: Tensor, classes: int) -> float | Tensor:
    """alpha as (1, C), (N, 1), () or a number."""
    if not isinstance(alpha, Tensor):
        if not isinstance(alpha, float | int):
            raise TypeError(f"{_OP}: alpha must be a number or a tensor, got {type(alpha).__name__}")
        if not 0 < alpha < math.inf:
            raise ValueError(f"{_OP}: alpha must be positive and finite, got {alpha}")
        return float(alpha)
    alpha = _float_constant("alpha", alpha)
    if alpha.device != input.device:
        raise ValueError(f"{_OP}: alpha must be on the device of input, got {alpha.device} and {input.device}")
    lead = input.shape[:-1]
    rows = lead.numel()
    per_class, per_sample = alpha.shape == (classes,), alpha.shape == lead
    if per_class and per_sample and classes > 1:
        raise ValueError(
            f"{_OP}: alpha of shape {_shape(alpha)} could be per class or per sample: give it as (1, C) or (N, 1)"
        )
    if alpha.dim() == 0:
        return alpha
    if per_class or alpha.shape == (1, classes):
        return alpha.reshape(1, -1)
    if per_sample or alpha.shape == (rows, 1):
        return alpha.reshape(-1, 1)
    raise ValueError(
        f"{_OP}: alpha must be a number or a tensor per class ({classes},) or per sample "
        f"{tuple(lead)}, got {_shape(alpha)}"
    )


# ---- plain PyTorch ----


class _CopyToGroup(torch.autograd.Function):
    """Identity; the gradient is summed over the ranks of the group."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.clone()
        torch.distributed.all_reduce(grad, group=ctx.group)
        return grad, None


class _SumOverGroup(torch.autograd.Function):
    """Sum over the ranks of the group; the gradient, the same on every rank, passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        x = x.clone()
        torch.distributed.all_reduce(x, group=group)
        return x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def linear_exp_ga_loss_ref(
    input: Tensor,
    weight: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    *,
    alpha: float | Tensor = 1.0,
    target_value: float = 1.0,
    negative_value: float = 0.0,
    class_weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    clamp: float | None = None,
    class_group: Any = None,
    class_start: int | None = None,
    class_total: int | None = None,
    chunk_bytes: int = DEFAULT_CHUNK_BYTES,
) -> Tensor:
    """`linear_exp_ga_loss` in plain PyTorch: F.linear and `exp_ga_loss_ref`. `chunk_bytes` has no effect."""
    lead = input.shape[:-1]
    classes = weight.shape[0]
    start, total = _slice_arguments(weight, class_group, class_start, class_total)
    dense = target.is_floating_point()
    index = target.reshape(-1, classes) if dense else target.reshape(-1)
    if isinstance(alpha, Tensor):
        alpha = _alpha(alpha, input, classes)
    x = input.reshape(-1, input.shape[-1])
    if not dense:
        x = x.masked_fill((index == ignore_index).unsqueeze(1), 0.0)  # their gradient is 0, but 0 * inf is not
    options: dict[str, Any] = {
        "alpha": alpha,
        "target_value": target_value,
        "negative_value": negative_value,
        "clamp": clamp,
    }
    if class_group is None:
        loss = exp_ga_loss_ref(F.linear(x, weight, bias), index, weight=class_weight, ignore_index=ignore_index,
                               reduction=reduction, **options)  # fmt: skip
        return loss.view(lead) if reduction == "none" else loss
    if total < 0:
        sizes: list[Any] = [None] * class_group.size()
        torch.distributed.all_gather_object(sizes, classes, group=class_group)
        start, total = sum(sizes[: class_group.rank()]), sum(sizes)
    logits = F.linear(_CopyToGroup.apply(x, class_group), weight, bias)
    if dense:
        part = None if class_weight is None else class_weight[start : start + classes]
        rows = exp_ga_loss_ref(logits, index, weight=part, reduction="none", **options)
        counts = torch.ones_like(rows)
    else:
        ignored = index == ignore_index
        mine = (index >= start) & (index < start + classes)
        local = torch.where(ignored, -100, torch.where(mine, index - start, -1))  # -1: no positive class here
        rows = exp_ga_loss_ref(logits, local, reduction="none", **options)
        counts = (~ignored).to(rows.dtype)
        if class_weight is not None:
            counts = counts * class_weight.to(rows.dtype)[index.clamp(0, total - 1)]
    rows = _SumOverGroup.apply(rows, class_group)
    if not dense:
        rows = rows * counts
    if reduction == "none":
        return rows.view(lead)
    return rows.sum() / counts.sum() if reduction == "mean" else rows.sum()

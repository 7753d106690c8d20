"""What the gradient-amplifying losses share: arguments, autograd, dispatcher registration and the plain reference.

Each loss is separable: l(x, t) per class, summed over the classes of a sample (thesis sec. 4.3 to 4.8). Forward
computes loss and gradient in one pass over the logits; backward only multiplies by the upstream gradient, and not even
that when it is 1.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._dispatch import DISPATCHER, LIB
from effdl_fast.ops._ga_loss_ref import MEAN, NONE, check_target, reduction_code, sample_shape, spread_alpha

_keep_graph: Callable[[], bool] = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


# What every kernel takes after its tensors: alpha (positive number, tensor, or None for linear_ga_loss), beta, clamp,
# target_value, negative_value, weight, ignore_index, reduction, class_start, class_total (-1: as many as logits has).
# See csrc/common/ga_loss.h. A plain tuple: a named one would cost a small call 0.1 us.
Args = tuple[Any, ...]
_WHOLE = (0, -1)  # class_start, class_total

# torch.empty_like of it is how a scalar is allocated fastest (0.7 us; torch.empty(()) takes 1.0 us on a Zen 5 core).
_SCALAR = torch.empty((), dtype=torch.float32, device="cpu")


def ga_loss(op: str, way: int, logits: Tensor, target: Tensor, reduction: str, inplace: bool, alpha: Any,
            beta: float | None, clamp: float | None, target_value: float, negative_value: float,
            weight: Tensor | None, ignore_index: int) -> Tensor:  # fmt: skip
    """The public ops end here: through the kernel, the kernel with autograd, or the dispatcher (`way`)."""
    code = reduction_code(op, reduction)
    if type(target) is not Tensor:
        target = _plain(op, "target", target)
    if target.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{op}: target gets no gradient: pass target.detach()")
    if type(alpha) is not float and op != "linear_ga_loss":
        alpha = _constant(op, "alpha", alpha, logits)
    if weight is not None:
        weight = _constant(op, "weight", weight, logits)
    args = (alpha, beta, clamp, target_value, negative_value, weight, ignore_index, code, *_WHOLE)
    if way == DISPATCHER:
        return _through_dispatcher(op, logits, target, args)
    if logits.requires_grad and torch.is_grad_enabled():
        if inplace:
            _check_inplace(op, logits)
        return _apply(logits, (op, target, args, code, inplace))
    loss, _, norm = forward(op, logits, target, args, code, inplace, inplace)
    if norm is not None:  # without autograd there is no backward that could still divide
        logits.mul_(norm)
    return loss


def _plain(op: str, name: str, value: Any) -> Tensor:
    """value as an ordinary tensor: a plain subclass (such as torchvision's Mask) without its clothes."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{op}: {name} must be a torch.Tensor, got {type(value).__name__}")
    return value if torch.compiler.is_compiling() else value.as_subclass(Tensor)


def _constant(op: str, name: str, value: Any, logits: Tensor) -> Any:
    """alpha or weight as the kernels read it: a number, or a float32/float64 tensor that needs no gradient."""
    if not isinstance(value, Tensor):
        if name == "weight" or value is None or not hasattr(value, "__float__"):
            kinds = "a torch.Tensor" if name == "weight" else "a number or a torch.Tensor"
            raise TypeError(f"{op}: {name} must be {kinds}, got {type(value).__name__}")
        return float(value)
    value = _plain(op, name, value)
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{op}: {name} is a constant of the loss and gets no gradient: pass {name}.detach()")
    if not value.is_floating_point():
        raise TypeError(f"{op}: {name} must be a floating-point tensor, got {value.dtype}")
    if value.dtype not in (torch.float32, torch.float64):
        value = value.to(torch.float32)
    if name == "alpha" and logits.dim() > 0:
        value = spread_alpha(op, value, logits.shape)
        if value.dim() > 3:  # spatial dimensions are one to the kernels
            if value.shape[2:].numel() > 1:
                value = value.expand(*value.shape[:2], *logits.shape[2:])
            value = value.flatten(2)
    return value


def _check_inplace(op: str, logits: Tensor) -> None:
    base = logits if logits._base is None else logits._base
    if base.is_leaf and base.requires_grad:
        raise ValueError(f"{op}: inplace=True would overwrite a leaf that requires grad")


def forward(op: str, logits: Tensor, target: Tensor, args: Args, reduction: int, need_grad: bool, inplace: bool,
            ) -> tuple[Tensor, Tensor | None, Tensor | None]:  # fmt: skip
    """Runs the kernel on real memory.

    Returns the loss, the gradient for an upstream gradient of 1 (logits itself if inplace, None unless need_grad) and,
    for float16 means, the factor 1/denominator that the gradient still lacks: dividing before a loss scale is applied
    would flush small float16 gradients to zero.
    """
    x = logits
    dtype = x.dtype
    if target.dtype is not torch.int64 or x.dim() > 3:
        x, target = _as_kernels_read(op, x, target)
    grad = norm = workspace = None
    if need_grad:
        if inplace and x.data_ptr() != logits.data_ptr():
            raise ValueError(f"{op}: inplace=True needs logits whose spatial dimensions can be merged without a copy")
        grad = x if inplace else torch.empty_like(x)
        if reduction == MEAN and dtype is torch.float16:
            norm = torch.empty((), dtype=torch.float32, device=x.device)
    if reduction != NONE and dtype is torch.float32 and not x.is_cuda:
        loss = torch.empty_like(_SCALAR)
    else:
        loss = _new_loss(logits, reduction)
    if x.is_cuda:
        alpha = args[0]
        size = _C.ga_loss_workspace_bytes(alpha.numel() if isinstance(alpha, Tensor) else 0)
        workspace = torch.empty(size, dtype=torch.uint8, device=x.device)
    getattr(_C, op)(x, target, loss, grad, norm, workspace, *args)
    if inplace:
        torch.autograd.graph.increment_version(logits)
        grad = logits.detach()
    elif grad is not None and logits.dim() > 3:
        grad = grad.view(logits.shape)
    return loss, grad, norm


def _as_kernels_read(op: str, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Spatial dimensions as one, class indices as int64, a dense target in the dtype of logits."""
    dense = target.is_floating_point()
    if dense:
        # Autocast hands 16-bit logits to a loss whose soft targets are still float32.
        if target.dtype is not logits.dtype and torch.is_autocast_enabled(logits.device.type):
            target = target.to(logits.dtype)
    elif target.dtype is not torch.int64:
        target = _as_index(op, target)
    if logits.dim() > 3:
        check_target(op, logits, target)
        return logits.flatten(2), target.flatten(2 if dense else 1)
    return logits, target


def _loss_dtype(logits: Tensor) -> torch.dtype:
    # As torch's own losses under autocast; the logits are read as they come.
    half = logits.dtype is torch.float16 or logits.dtype is torch.bfloat16
    return torch.float32 if half and torch.is_autocast_enabled(logits.device.type) else logits.dtype


def _new_loss(logits: Tensor, reduction: int) -> Tensor:
    return logits.new_empty(sample_shape(logits) if reduction == NONE else (), dtype=_loss_dtype(logits))


def _as_index(op: str, target: Tensor) -> Tensor:
    if target.dtype not in (torch.int32, torch.int16, torch.int8, torch.uint8):
        raise TypeError(
            f"{op}: target must be integer class indices or a dense floating-point tensor, got {target.dtype}"
        )
    return target.long()


def scale(grad: Tensor, upstream: Tensor, norm: Tensor | None, reduction: int) -> Tensor:
    """grad times the upstream gradient of each sample (and norm), reusing grad's memory unless the graph is kept.

    What is 0 stays 0 even if the upstream gradient is infinite or NaN: ignored samples get no gradient.
    """
    keep = _keep_graph()
    if upstream.dim() == 0 and not grad.is_cuda:
        try:
            factor: Any = _C.ga_loss_cpu_factor(upstream, norm)
        except TypeError:
            if _is_batched(upstream):
                return _times(grad, upstream * (1.0 if norm is None else norm))
            raise
        if factor == 1.0:
            return grad.clone() if keep else grad
        finite = math.isfinite(factor)
    elif _is_batched(upstream):
        return _times(grad, _per_class(grad, upstream, reduction) * (1.0 if norm is None else norm))
    elif grad.is_cuda:
        out = torch.empty_like(grad) if keep else grad
        if grad.dim() > 3:
            _C.ga_loss_scale(grad.flatten(2), upstream.flatten(1) if upstream.dim() else upstream, norm, out.flatten(2))
        else:
            _C.ga_loss_scale(grad, upstream, norm, out)
        return out
    else:
        factor = _per_class(grad, upstream, reduction)
        finite = bool(upstream.isfinite().all())
    if not finite:
        return _times(grad, factor)
    return torch.mul(grad, factor) if keep else grad.mul_(factor)


def _is_batched(x: Tensor) -> bool:
    """Whether x stands for a batch of tensors: under vmap, or autograd.grad(is_grads_batched=True)."""
    functorch = torch._C._functorch
    return functorch.is_legacy_batchedtensor(x) or functorch.is_functorch_wrapped_tensor(x)


def _per_class(grad: Tensor, upstream: Tensor, reduction: int) -> Tensor:
    return upstream.unsqueeze(1) if reduction == NONE and grad.dim() > 1 else upstream


def _times(grad: Tensor, factor: Any) -> Tensor:
    return torch.where(grad == 0, 0.0, grad * factor).to(grad.dtype)


def no_double_backward(op: str) -> None:
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        raise RuntimeError(f"{op}: no second derivatives (create_graph=True); use {op}_ref, which has them")


class _GaLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, call: tuple) -> Tensor:
        op, target, args, reduction, inplace = call
        loss, grad, norm = forward(op, logits, target, args, reduction, True, inplace)
        ctx.save_for_backward(grad, norm)
        ctx.call = op, reduction
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        op, reduction = ctx.call
        if torch.is_grad_enabled():
            no_double_backward(op)
        grad, norm = ctx.saved_tensors
        return scale(grad, upstream, norm, reduction), None


# What Function.apply calls once it knows that no torch.func transform runs; `route` knows that already.
_apply = super(torch.autograd.Function, _GaLoss).apply


# ---- torch.ops.effdl_fast.<op>: what torch.compile, export, FakeTensorMode and tensor subclasses see ----

_SCHEMA = (
    "(Tensor logits, Tensor target, Tensor? alpha_tensor, float alpha, float beta, float? clamp, float target_value, "
    "float negative_value, Tensor? weight, int ignore_index, int reduction, bool need_grad) "
    "-> (Tensor loss, Tensor grad, Tensor norm)"
)


def _through_dispatcher(op: str, logits: Tensor, target: Tensor, args: Args) -> Tensor:
    alpha, beta, clamp, target_value, negative_value, weight, ignore_index, reduction, *_ = args
    tensor, number = (alpha, 1.0) if isinstance(alpha, Tensor) else (None, 1.0 if alpha is None else float(alpha))
    need_grad = torch.is_grad_enabled() and logits.requires_grad
    call = getattr(torch.ops.effdl_fast, op)
    return call(logits, target, tensor, number, beta or 0.0, clamp, target_value, negative_value, weight, ignore_index,
                reduction, need_grad)[0]  # fmt: skip


def register(op: str) -> None:
    """Defines torch.ops.effdl_fast.<op> with its kernel, its fake and its derivative."""
    LIB.define(op + _SCHEMA)
    has_alpha = op != "linear_ga_loss"

    def kernel(logits, target, alpha_tensor, alpha, beta, clamp, target_value, negative_value, weight, ignore_index,
               reduction, need_grad):  # fmt: skip
        # A plain subclass arrives as itself; one that wraps other tensors has its own dispatch and never comes here.
        logits, target = logits.as_subclass(Tensor), target.as_subclass(Tensor)
        constant = (alpha if alpha_tensor is None else alpha_tensor) if has_alpha else None
        args = (constant, beta, clamp, target_value, negative_value, weight, ignore_index, reduction, *_WHOLE)
        loss, grad, norm = forward(op, logits, target, args, reduction, need_grad, False)
        if grad is None:
            grad = logits.new_empty(0)
        if norm is None:
            norm = logits.new_ones((), dtype=torch.float32)
        return loss, grad, norm

    def fake(logits, target, alpha_tensor, alpha, beta, clamp, target_value, negative_value, weight, ignore_index,
             reduction, need_grad):  # fmt: skip
        if not need_grad:
            grad = logits.new_empty(0)
        elif logits.dim() > 3:
            grad = torch.empty_like(logits.flatten(2)).view(logits.shape)
        else:
            grad = torch.empty_like(logits)
        return _new_loss(logits, reduction), grad, logits.new_empty((), dtype=torch.float32)

    def setup_context(ctx, inputs, output):
        _, grad, norm = output
        ctx.mark_non_differentiable(grad, norm)
        ctx.save_for_backward(grad, norm)
        ctx.reduction = inputs[10]
        ctx.set_materialize_grads(False)

    def backward(ctx, upstream, _grad, _norm):
        no_double_backward(op)
        grad, norm = ctx.saved_tensors
        if upstream is None:
            return (None,) * 12
        return (_times(grad, _per_class(grad, upstream, ctx.reduction) * norm), *(None,) * 11)

    LIB.impl(op, kernel, "CPU")
    LIB.impl(op, kernel, "CUDA")
    torch.library.register_fake(f"effdl_fast::{op}", fake, lib=LIB)
    torch.library.register_autograd(f"effdl_fast::{op}", backward, setup_context=setup_context, lib=LIB)

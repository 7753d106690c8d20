"""Numbers on weights, logits and gradients: ranks, the softmax normaliser (thesis 4.14), RMS of gradients (3.3)."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effdl_fast.metrics._inputs import matrix
from effdl_fast.metrics.filtering import as_tensor
from effdl_fast.ops._arguments import floating, number


class SoftmaxNormaliser(NamedTuple):
    """s = sum_i exp(x_i) over a batch, in float64; natural logarithms."""

    mean: Tensor  # of s over the samples; inf where it overflows float64
    log_mean: Tensor  # log of that mean, finite for finite logits
    mean_log: Tensor  # mean of log s, the log of the geometric mean
    log_min: Tensor  # smallest log s
    log_max: Tensor  # largest log s


def _singular_values(op: str, w: Any) -> Tensor:
    """float64, descending."""
    floating(op, "w", w := as_tensor(op, "w", w))
    flat = matrix(op, "w", w)
    if not bool(torch.isfinite(flat).all()):
        raise ValueError(f"{op}: w holds NaN or infinity")
    return torch.linalg.svdvals(flat.double())


def stable_rank(w: Any) -> Tensor:
    """||W||_F^2 / ||W||_2^2: the rank, but for directions that hardly matter. From 1 to the rank; 0 for W = 0.

    Args:
        w: (rows, columns), float32, float64, float16 or bfloat16. Of the weights of a convolution (out, in, h, w) the
            rows are the filters: all dimensions after the first are flattened. (n,) is a column.

    Returns:
        float64 0-d tensor.

    Raises:
        ValueError: NaN or infinity.
        TypeError: wrong dtype.
    """
    values = _singular_values("stable_rank", w)
    if not len(values) or not bool(values[0] > 0):
        return values.new_zeros(())
    return (values / values[0]).square().sum()


def numerical_rank(w: Any, rtol: float | None = None) -> Tensor:
    """The number of singular values above rtol times the largest one.

    Args:
        w: as `stable_rank`.
        rtol: max(rows, columns) times the epsilon of w's dtype without it, as torch.linalg.matrix_rank has it.

    Returns:
        int64 0-d tensor; 0 for W = 0.

    Raises:
        ValueError: NaN or infinity, rtol outside of [0, 1).
        TypeError: wrong dtype.
    """
    w = as_tensor("numerical_rank", "w", w)
    values = _singular_values("numerical_rank", w)
    if rtol is None:
        rtol = max(w.shape[0], w[0].numel() if len(w) else 0) * torch.finfo(w.dtype).eps
    elif not 0 <= (rtol := number("numerical_rank", "rtol", rtol)) < 1:
        raise ValueError(f"numerical_rank: rtol must be at least 0 and below 1, got {rtol}")
    if not len(values):
        return values.new_zeros((), dtype=torch.int64)
    return ((values > rtol * values[0]) & (values > 0)).sum()


def softmax_normaliser(logits: Any) -> SoftmaxNormaliser:
    """The normalisation term s = sum_i exp(x_i) of the softmax over a batch (4.14, Figure 4.5).

    Args:
        logits: (n, classes) or (n, classes, d1, ...), each position being a sample: float32, float64, float16 or
            bfloat16. -inf is a class that is masked out.

    Returns:
        SoftmaxNormaliser(mean, log_mean, mean_log, log_min, log_max), float64 0-d tensors.

    Raises:
        ValueError: no samples or classes, NaN or +inf.
        TypeError: wrong dtype.
    """
    op = "softmax_normaliser"
    floating(op, "logits", logits := as_tensor(op, "logits", logits))
    if logits.dim() < 2 or not logits.numel():
        raise ValueError(f"{op}: logits must be (samples, classes, ...) and not empty, got shape {tuple(logits.shape)}")
    log = torch.logsumexp(logits.double(), dim=1).flatten()
    if bool((log.isnan() | (log == math.inf)).any()):
        raise ValueError(f"{op}: logits hold NaN or infinity")
    log_mean = torch.logsumexp(log, dim=0) - math.log(len(log))
    return SoftmaxNormaliser(log_mean.exp(), log_mean, log.mean(), log.min(), log.max())


def gradient_rms(module: torch.nn.Module, *, by: str = "parameter") -> dict[str, float]:
    """Root mean square of the gradients that the last backward left in `.grad` (chapter 3 relates it to entropy).

    Args:
        module: any module, after backward and before its gradients are zeroed.
        by: "parameter": one number per parameter. "module": one for all of the parameters that a module holds itself,
            by the module's name ("" for `module`).

    Returns:
        Names to numbers; what has no gradient is left out. A shared parameter counts where it is named first.

    Raises:
        TypeError: module is no torch.nn.Module.
        ValueError: unknown by.
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"gradient_rms: module must be a torch.nn.Module, got {type(module).__name__}")
    if by not in ("parameter", "module"):
        raise ValueError(f"gradient_rms: by must be parameter or module, got {by!r}")
    sums: dict[str, list[Tensor]] = {}
    elements: dict[str, int] = {}
    for name, parameter in module.named_parameters():
        if parameter.grad is None or not parameter.numel():
            continue
        name = name if by == "parameter" else name.rpartition(".")[0]
        grad = parameter.grad.detach()
        grad = grad.coalesce().values() if grad.is_sparse else grad
        # float64 keeps the squares of small gradients; abs makes complex ones real.
        sums.setdefault(name, []).append(torch.linalg.vector_norm(grad, dtype=_wide(grad.dtype)).double().square())
        elements[name] = elements.get(name, 0) + parameter.numel()
    return {name: math.sqrt(float(sum(s.cpu() for s in parts)) / elements[name]) for name, parts in sums.items()}


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.complex128 if dtype.is_complex else torch.float64

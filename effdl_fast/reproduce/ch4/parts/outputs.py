"""Output layers of chapter 4: an activation with the loss that makes its error gradient the canonical y - t (sec. 4.3).

A network ends in linear units x; the loss is applied to them, so "activation + loss" is one function here, as in sec.
4.8. Its gradient with respect to x, per sample, is y - t with y the activation of x: softmax, sigmoid, tanh, x, alpha
exp(x) or alpha x^3 + beta.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from effdl_fast import ops
from effdl_fast.reproduce.train import Loss

Settings = Mapping[str, object]


def make_loss(output: str, **settings: float) -> Loss:
    """loss(logits (N, C), target (N,)) -> scalar, the sum over classes and mean over the batch.

    output: softmax, sigmoid, tanh, linear, exp or pow3. settings: alpha, beta, target_value, negative_value where the
    output has them.
    """
    if output not in OUTPUTS:
        raise ValueError(f"output: {output!r} is not one of {', '.join(OUTPUTS)}")
    function = OUTPUTS[output]
    return lambda logits, target: function(logits, target, **settings)


def output_delta(loss: Loss, logits: Tensor, target: Tensor) -> Tensor:
    """The error gradients y - t of each sample (N, C): not divided by the batch size."""
    x = logits.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(x, target), x)
    return gradient * len(x)


def sigmoid_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy on each sigmoid unit, t in {0, 1}; gradient sigmoid(x) - t."""
    onehot = F.one_hot(target, logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, onehot, reduction="sum") / len(logits)


def tanh_canonical(logits: Tensor, target: Tensor) -> Tensor:
    """ln cosh(x) - t x, t in {-1, 1}: the loss whose gradient is tanh(x) - t."""
    signs = 2.0 * F.one_hot(target, logits.shape[1]).to(logits.dtype) - 1.0
    magnitude = logits.abs()
    log_cosh = magnitude + F.softplus(-2.0 * magnitude) - math.log(2.0)
    return (log_cosh - signs * logits).sum() / len(logits)


OUTPUTS: dict[str, Callable[..., Tensor]] = {
    "softmax": F.cross_entropy,
    "sigmoid": sigmoid_cross_entropy,
    "tanh": tanh_canonical,
    "linear": ops.linear_ga_loss,
    "exp": ops.exp_ga_loss,
    "pow3": ops.pow3_ga_loss,
}

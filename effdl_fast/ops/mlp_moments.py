"""Second moments of a deep representation that is never held (thesis chapter 7)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import boolean, floating, register, same_device, way_of_all
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._mlp import SUM_ROWS, check_layers, last_width, layers, moments_by_blocks, plain_cpu, with_ones

OP = "mlp_moments"


def mlp_moments(
    x: Tensor, weights: Sequence[Tensor], y: Tensor | None, activation: str = "identity", *, precise: bool = False
) -> Tensor:
    """The sum over rows of r' r, r = [1, z, y], where z is `mlp_forward(x, weights, activation)`. Thesis chapter 7.

    They are all that a least squares fit of the next layer needs, by its normal equations. Blocks of rows go through
    all layers and into the moments; beside the result only they and a copy of the weights are held.

    z is computed in float32 (float64 for float64 x), as in `mlp_forward`. Its products are summed in float32 over at
    most 256 rows (on CUDA 4096) and those sums in float64, on the CPU in the same order for every number of threads.
    NaN and infinity spread as in matrix products. Nothing is differentiable: all inputs are constants.

    Args:
        x: (m, d) float32, float64, float16 or bfloat16, any strides; m = 0 gives zeros.
        weights: matrices (w_{i-1} + 1, w_i), w_0 = d, in z's dtype, any strides; row 0 is the bias. None at all: z = x.
        y: (m, c) float32, float64, float16 or bfloat16, any strides, rounded to z's dtype; None: c = 0.
        activation: "identity", "relu", "celu" (alpha 1), "tanh", "sigmoid" or "leaky_relu" (slope 0.01), after every
            layer.
        precise: products and sums are float64 too, for moments that are ill-conditioned. So they always are for
            float64 x.

    Returns:
        float64 (1 + w + c, 1 + w + c), symmetric; w is the width of z.

    Raises:
        TypeError, ValueError: wrong shapes, dtypes or devices, by the argument's name; an unknown activation.
    """
    way = route(OP, "x", x)
    if way == REFERENCE:
        return mlp_moments_ref(x, weights, y, activation, precise=precise)
    weights = _check(x, weights, y, activation, precise)
    y = None if y is None else y.detach()
    if way_of_all(way, *weights, y) == DISPATCHER:
        return torch.ops.effdl_fast.mlp_moments(x.detach(), weights, y, activation, precise)
    return _run(x.detach(), weights, y, activation, precise)


def _check(x: Tensor, weights: Sequence[Tensor], y: Tensor | None, activation: str, precise: bool) -> list[Tensor]:
    weights = check_layers(OP, x, weights, activation)
    boolean(OP, "precise", precise)
    if y is not None:
        if not isinstance(y, Tensor):
            raise TypeError(f"{OP}: y must be a torch.Tensor or None, got {type(y).__name__}")
        floating(OP, "y", y)
        same_device(OP, "y", y, "x", x)
        if y.dim() != 2 or y.shape[0] != x.shape[0]:
            raise ValueError(f"{OP}: y must have shape ({x.shape[0]}, c) as x has rows, got {tuple(y.shape)}")
    return weights


def _moments(x: Tensor, weights: Sequence[Tensor], y: Tensor | None) -> Tensor:
    n = 1 + last_width(x, weights) + (0 if y is None else y.shape[1])
    return x.new_zeros((n, n), dtype=torch.float64)


def _run(x: Tensor, weights: Sequence[Tensor], y: Tensor | None, activation: str, precise: bool) -> Tensor:
    moments = _moments(x, weights, y)
    if x.is_cuda:
        moments_by_blocks(x, weights, y, activation, precise, moments)
    else:
        x, weights = plain_cpu(x, weights)
        _C.mlp_moments(x, weights, None if y is None else y.resolve_neg(), moments, activation, precise)
    return moments


def _fake(x: Tensor, weights: Sequence[Tensor], y: Tensor | None, activation: str, precise: bool) -> Tensor:
    return _moments(x, weights, y)


register(OP, "(Tensor x, Tensor[] weights, Tensor? y, str activation, bool precise) -> Tensor", _run, _fake)


def mlp_moments_ref(
    x: Tensor, weights: Sequence[Tensor], y: Tensor | None, activation: str = "identity", *, precise: bool = False
) -> Tensor:
    """`mlp_moments` in plain PyTorch: the whole representation, then its products by parts of 256 rows."""
    weights = _check(x, weights, y, activation, precise)
    r = with_ones(layers(x.detach(), weights, activation), None if y is None else y.detach())
    if precise:
        r = r.double()
    moments = _moments(x, weights, y)
    for part in r.split(SUM_ROWS):
        moments += part.t() @ part
    return moments

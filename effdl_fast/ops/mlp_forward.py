"""The layers of a fitted network, without its hidden representations (thesis chapter 7)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import dtype_name, register, same_device, way_of_all
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._mlp import check_layers, compute_dtype, forward_by_blocks, last_width, layers, plain_cpu

OP = "mlp_forward"


def mlp_forward(
    x: Tensor, weights: Sequence[Tensor], activation: str = "identity", *, out: Tensor | None = None
) -> Tensor:
    """z_k of z_0 = x, z_i = activation([1 z_{i-1}] W_i), for the k matrices of `weights`. Thesis chapter 7.

    Some rows at a time go through all layers, so that beside the result only blocks and a copy of the weights are held.
    Products are summed in x's compute dtype: float64 for float64 x, else float32. Rows do not depend on each other, nor
    on the number of threads. NaN and infinity spread as in matrix products. Nothing is differentiable: all inputs are
    constants.

    Args:
        x: (m, d) float32, float64, float16 or bfloat16, any strides. 16-bit numbers become float32 block by block.
        weights: k matrices (w_{i-1} + 1, w_i), w_0 = d, in the compute dtype, any strides; row 0 is the bias. None at
            all: the result is a copy of x in the compute dtype.
        activation: "identity", "relu", "celu" (alpha 1), "tanh", "sigmoid" or "leaky_relu" (slope 0.01), after every
            layer.
        out: (m, w_k) in the compute dtype, any strides that give each element its own memory, sharing none with x or
            weights: the result goes there.

    Returns:
        (m, w_k), the last layer's output; `out` if it is given.

    Raises:
        TypeError, ValueError: wrong shapes, dtypes or devices, by the argument's name; an unknown activation.
    """
    way = route(OP, "x", x)
    if way == REFERENCE:
        return mlp_forward_ref(x, weights, activation, out=out)
    weights = check_layers(OP, x, weights, activation)
    if out is not None:
        _check_out(x, weights, out)
    if way_of_all(way, *weights, out) == DISPATCHER:
        z = torch.ops.effdl_fast.mlp_forward(x.detach(), weights, activation)
        return z if out is None else out.copy_(z)
    if out is not None and out.is_neg():  # its memory holds the negatives
        return out.copy_(_run(x, weights, activation))
    return _run(x, weights, activation, out)


def _check_out(x: Tensor, weights: Sequence[Tensor], out: Tensor) -> None:
    if not isinstance(out, Tensor):
        raise TypeError(f"{OP}: out must be a torch.Tensor, got {type(out).__name__}")
    if out.dtype is not compute_dtype(x):
        raise TypeError(f"{OP}: out must be {dtype_name(compute_dtype(x))}, got {dtype_name(out.dtype)}")
    same_device(OP, "out", out, "x", x)
    shape = (x.shape[0], last_width(x, weights))
    if tuple(out.shape) != shape:
        raise ValueError(f"{OP}: out must have shape {shape}, got {tuple(out.shape)}")
    if out.requires_grad:
        raise ValueError(f"{OP}: out must not require grad: nothing is differentiable here")
    if _overlaps(out):
        raise ValueError(f"{OP}: out must have an element of its own for every result, got strides {out.stride()}")


def _overlaps(out: Tensor) -> bool:
    """Whether elements of a matrix may share memory: whether its longer step may end within what the shorter spans."""
    (rows, cols), (down, right) = out.shape, out.stride()
    short, count, long, others = (down, rows, right, cols) if down < right else (right, cols, down, rows)
    if rows == 0 or cols == 0:
        return False
    return (count > 1 and short == 0) or (others > 1 and long <= short * (count - 1))


def _run(x: Tensor, weights: Sequence[Tensor], activation: str, out: Tensor | None = None) -> Tensor:
    x = x.detach()
    if out is None:
        out = x.new_empty((x.shape[0], last_width(x, weights)), dtype=compute_dtype(x))
    if weights and not x.is_cuda:
        _C.mlp_forward(*plain_cpu(x, weights), out, activation)
    else:
        forward_by_blocks(x, weights, activation, out)
    return out


def _fake(x: Tensor, weights: Sequence[Tensor], activation: str) -> Tensor:
    return x.new_empty((x.shape[0], last_width(x, weights)), dtype=compute_dtype(x))


register(OP, "(Tensor x, Tensor[] weights, str activation) -> Tensor", _run, _fake)


def mlp_forward_ref(
    x: Tensor, weights: Sequence[Tensor], activation: str = "identity", *, out: Tensor | None = None
) -> Tensor:
    """`mlp_forward` in plain PyTorch, one layer after another."""
    weights = check_layers(OP, x, weights, activation)
    if out is not None:
        _check_out(x, weights, out)
    z = layers(x.detach(), weights, activation)
    if out is not None:
        return out.copy_(z)
    return z if weights else z.clone(memory_format=torch.contiguous_format)

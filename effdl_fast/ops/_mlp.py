"""What mlp_forward and mlp_moments share: checks of their arguments, and both in plain PyTorch by blocks of rows."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from effdl_fast.ops._activations import ACTIVATIONS, check_activation
from effdl_fast.ops._arguments import dtype_name, floating, same_device

SUM_ROWS = 256  # rows whose products are summed in float32, before float64 takes over
_BLOCK_ROWS, _BLOCK_NUMBERS = 4096, 1 << 25  # of composed blocks; 128 MiB of float32


def compute_dtype(x: Tensor) -> torch.dtype:
    """What layers are computed in."""
    return torch.float64 if x.dtype is torch.float64 else torch.float32


def check_layers(op: str, x: Tensor, weights: Any, activation: str) -> list[Tensor]:
    """Raises for anything wrong with x and the layers; the weights as constants."""
    floating(op, "x", x)
    if x.dim() != 2:
        raise ValueError(f"{op}: x must have shape (m, d), got {tuple(x.shape)}")
    check_activation(op, activation)
    if isinstance(weights, Tensor) or not isinstance(weights, Sequence):
        raise TypeError(f"{op}: weights must be a sequence of tensors, got {type(weights).__name__}")
    width, dtype = x.shape[1], compute_dtype(x)
    for i, w in enumerate(weights):
        name = f"weights[{i}]"
        if not isinstance(w, Tensor):
            raise TypeError(f"{op}: {name} must be a torch.Tensor, got {type(w).__name__}")
        floating(op, name, w)
        if w.dtype is not dtype:
            raise TypeError(
                f"{op}: {name} must be {dtype_name(dtype)} for x of {dtype_name(x.dtype)}, got {dtype_name(w.dtype)}"
            )
        same_device(op, name, w, "x", x)
        if w.dim() != 2 or w.shape[0] != width + 1 or w.shape[1] < 1:
            raise ValueError(
                f"{op}: {name} must have shape ({width + 1}, w), its row 0 the bias, with w >= 1, got {tuple(w.shape)}"
            )
        width = w.shape[1]
    return [w.detach() for w in weights]


def last_width(x: Tensor, weights: Sequence[Tensor]) -> int:
    return weights[-1].shape[1] if weights else x.shape[1]


def layers(x: Tensor, weights: Sequence[Tensor], activation: str) -> Tensor:
    """The last z of these rows, in the compute dtype."""
    z, function = x.to(compute_dtype(x)), ACTIVATIONS[activation]
    for w in weights:
        z = function(torch.addmm(w[0], z, w[1:]))
    return z


def row_blocks(x: Tensor, weights: Sequence[Tensor]) -> Iterator[slice]:
    """Rows that go through all layers together."""
    m, widest = x.shape[0], max([x.shape[1], *(w.shape[1] for w in weights)])
    rows = max(SUM_ROWS, min(_BLOCK_ROWS, _BLOCK_NUMBERS // max(widest, 1)))
    for begin in range(0, m, rows):
        yield slice(begin, min(m, begin + rows))


def with_ones(z: Tensor, y: Tensor | None) -> Tensor:
    """[1 z y] in z's dtype."""
    ones = z.new_ones((z.shape[0], 1))
    return torch.cat([ones, z] if y is None else [ones, z, y.to(z.dtype)], 1)


def forward_by_blocks(x: Tensor, weights: Sequence[Tensor], activation: str, out: Tensor) -> None:
    """mlp_forward by torch, into `out`."""
    for rows in row_blocks(x, weights):
        out[rows] = layers(x[rows], weights, activation)


def moments_by_blocks(
    x: Tensor, weights: Sequence[Tensor], y: Tensor | None, activation: str, precise: bool, moments: Tensor
) -> None:
    """mlp_moments by torch, added to `moments`."""
    for rows in row_blocks(x, weights):
        r = with_ones(layers(x[rows], weights, activation), None if y is None else y[rows])
        if precise:
            r = r.double()
        moments += r.t() @ r


def plain_cpu(x: Tensor, weights: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Tensors whose memory says what they are."""
    return x.resolve_neg(), [w.resolve_neg() for w in weights]

"""Second moments of a narrow layer's output, for many weights in one pass (thesis chapter 7)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._activations import ACTIVATIONS, check_activation
from effdl_fast.ops._arguments import boolean, dtype_name, floating, register, same_device, way_of_all
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route

OP = "layer_moments"
MAX_WIDTH = 64  # of z, of the layer and of y
_ACTIVATIONS = tuple(ACTIVATIONS)  # the kernels know them by their place


class LayerMoments(NamedTuple):
    """With r = [1, activation([1 z] W), y] of a row."""

    moments: Tensor  # float64 (t, 1 + w + c, 1 + w + c), without t for one W: the sum over the rows of r' r
    output: Tensor | None  # (m, w) in z's dtype if asked for, stored by columns


def layer_moments(
    z: Tensor, weights: Tensor | None, y: Tensor, activation: str = "identity", *, keep: bool = False
) -> LayerMoments:
    """The moments [1 A y]'[1 A y] of a layer's output A = activation([1 z] W), for every W of `weights`.

    They are all that a least squares fit of the next layer needs (thesis chapter 7, W = Z^+ T with T from [Z Y], by
    normal equations), and no (m, w) matrix is stored for them. z is read once.

    A is computed in float32 (float64 for float64 z): the bias first, then the columns of z in order, each added by a
    fused multiply-add where the CPU has one. Products and sums of the moments are float64. Results are the same bits
    for every number of threads; another SIMD level or device may round differently. NaN and infinity go into the
    moments as they come. Nothing is differentiable: z, weights and y are read as constants.

    Args:
        z: (m, d) float32, float64, float16 or bfloat16, d up to MAX_WIDTH = 64, m from 0. Any strides; columns that
            are contiguous, as those of `output`, are read fastest.
        weights: (t, d + 1, w), or (d + 1, w) for one layer, w from 1 to 64: row 0 is the bias. float32 or float64;
            rounded to float32 unless z is float64. None: no layer, the moments of [1 z y].
        y: (m, c) float32, float64, float16 or bfloat16, c from 0 to 64, any strides.
        activation: "identity", "relu", "celu" (alpha 1, which is elu too), "tanh", "sigmoid" or "leaky_relu" (slope
            0.01).
        keep: also return A, rounded to z's dtype; for one W only.

    Returns:
        LayerMoments(moments, output): moments float64 (t, 1 + w + c, 1 + w + c), symmetric; without t for weights of
        two dimensions or None, where w = d. output (m, w), or None without `keep`; its columns are contiguous.

    Raises:
        TypeError, ValueError: wrong dtypes, shapes or devices; an unknown activation; `keep` without weights or with
            several; an activation without weights.
    """
    way = route(OP, "z", z)
    if way == REFERENCE:
        return layer_moments_ref(z, weights, y, activation, keep=keep)
    weights = _check(z, weights, y, activation, keep)
    if way_of_all(way, weights, y) == DISPATCHER:
        detached = None if weights is None else weights.detach()
        moments, output = torch.ops.effdl_fast.layer_moments(z.detach(), detached, y.detach(), activation, keep)
        return LayerMoments(moments, output if keep else None)
    return LayerMoments(*_compute(z, weights, y, activation, keep))


def _real(z: Tensor) -> torch.dtype:
    """What A is computed in."""
    return torch.float64 if z.dtype is torch.float64 else torch.float32


def _check(z: Tensor, weights: Any, y: Any, activation: Any, keep: Any) -> Tensor | None:
    """Raises for anything wrong; the weights in the dtype that A is computed in."""
    floating(OP, "z", z)
    if z.dim() != 2 or z.shape[1] > MAX_WIDTH:
        raise ValueError(f"{OP}: z must have shape (m, d) with d up to {MAX_WIDTH}, got {tuple(z.shape)}")
    if not isinstance(y, Tensor):
        raise TypeError(f"{OP}: y must be a torch.Tensor, got {type(y).__name__}")
    floating(OP, "y", y)
    if y.dim() != 2 or y.shape[1] > MAX_WIDTH or y.shape[0] != z.shape[0]:
        raise ValueError(
            f"{OP}: y must have shape (m, c) with m = {z.shape[0]} as z has and c up to {MAX_WIDTH}, "
            f"got {tuple(y.shape)}"
        )
    same_device(OP, "y", y, "z", z)
    check_activation(OP, activation)
    boolean(OP, "keep", keep)
    if weights is None:
        if activation != "identity":
            raise ValueError(f"{OP}: activation must be identity without weights, got {activation!r}")
        if keep:
            raise ValueError(f"{OP}: keep must be False without weights")
        return None
    if not isinstance(weights, Tensor):
        raise TypeError(f"{OP}: weights must be a torch.Tensor or None, got {type(weights).__name__}")
    if weights.dtype is not torch.float32 and weights.dtype is not torch.float64:
        raise TypeError(f"{OP}: weights must be float32 or float64, got {dtype_name(weights.dtype)}")
    floating(OP, "weights", weights)
    same_device(OP, "weights", weights, "z", z)
    if weights.dim() not in (2, 3) or weights.shape[-2] != z.shape[1] + 1 or not 1 <= weights.shape[-1] <= MAX_WIDTH:
        raise ValueError(
            f"{OP}: weights must have shape (t, {z.shape[1] + 1}, w) or ({z.shape[1] + 1}, w), a row more than z has "
            f"columns, with w from 1 to {MAX_WIDTH}, got {tuple(weights.shape)}"
        )
    if keep and weights.dim() == 3 and weights.shape[0] != 1:
        raise ValueError(f"{OP}: keep must be False for several weights, got {weights.shape[0]}")
    return weights.to(_real(z))


def _compute(z: Tensor, weights: Tensor | None, y: Tensor, activation: str, keep: bool) -> tuple[Tensor, Tensor | None]:
    moments = _moments(z, weights, y)
    # A by columns: a layer's kernel makes and reads them so.
    columns = z.new_empty((weights.shape[-1], z.shape[0])) if keep and weights is not None else None
    workspace = None
    if z.is_cuda:
        tries = 1 if weights is None or weights.dim() == 2 else weights.shape[0]
        width = z.shape[1] if weights is None else weights.shape[-1]
        size = _C.layer_moments_workspace_bytes(z.shape[0], tries, width, y.shape[1])
        workspace = torch.empty(size, dtype=torch.uint8, device=z.device)
    _C.layer_moments(
        z.resolve_neg() if z.is_neg() else z,
        None if weights is None else weights.resolve_neg().contiguous(),
        y.resolve_neg() if y.is_neg() else y,
        moments,
        columns,
        workspace,
        _ACTIVATIONS.index(activation),
    )
    return moments, None if columns is None else columns.t()


def _moments(z: Tensor, weights: Tensor | None, y: Tensor) -> Tensor:
    n = 1 + (z.shape[1] if weights is None else weights.shape[-1]) + y.shape[1]
    tries = () if weights is None or weights.dim() == 2 else (weights.shape[0],)
    return torch.empty((*tries, n, n), dtype=torch.float64, device=z.device)


def _run(z: Tensor, weights: Tensor | None, y: Tensor, activation: str, keep: bool) -> tuple[Tensor, Tensor]:
    weights = _check(z, weights, y, activation, keep)
    moments, output = _compute(z, weights, y, activation, keep)
    return moments, z.new_empty((0, 0)) if output is None else output


def _fake(z: Tensor, weights: Tensor | None, y: Tensor, activation: str, keep: bool) -> tuple[Tensor, Tensor]:
    if weights is None or not keep:
        return _moments(z, weights, y), z.new_empty((0, 0))
    return _moments(z, weights, y), z.new_empty((weights.shape[-1], z.shape[0])).t()


register(
    OP, "(Tensor z, Tensor? weights, Tensor y, str activation, bool keep) -> (Tensor moments, Tensor output)", _run,
    _fake,
)  # fmt: skip


def layer_moments_ref(
    z: Tensor, weights: Tensor | None, y: Tensor, activation: str = "identity", *, keep: bool = False
) -> LayerMoments:
    """`layer_moments` in plain PyTorch, one W after another."""
    weights = _check(z, weights, y, activation, keep)
    z, y = z.detach(), y.detach()

    def of(a: Tensor) -> Tensor:
        r = torch.cat([a.new_ones((a.shape[0], 1), dtype=torch.float64), a.double(), y.double()], 1)
        return r.t() @ r

    if weights is None:
        return LayerMoments(of(z), None)
    real = z.to(weights.dtype)
    function = ACTIVATIONS[activation]
    several = weights.detach() if weights.dim() == 3 else weights.detach()[None]
    found, output = [], None
    for w in several:
        a = function(torch.addmm(w[0], real, w[1:]))
        found.append(of(a))
        if keep:
            output = a.to(z.dtype).t().contiguous().t()
    if weights.dim() == 2:
        return LayerMoments(found[0], output)
    n = 1 + weights.shape[2] + y.shape[1]
    return LayerMoments(torch.stack(found) if found else torch.empty((0, n, n), dtype=torch.float64, device=z.device),
                        output)  # fmt: skip

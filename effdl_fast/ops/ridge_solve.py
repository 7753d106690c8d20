"""Least squares of narrow layers from their moments (thesis chapter 7)."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import boolean, dense, dtype_name, integer, number, register, same_device, way_of_all
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route

OP = "ridge_solve"
MAX_TARGETS = 64
MAX_COLUMNS = 65  # of Z: a bias and 64 more
PIVOT = 16 * 2.0**-52  # times n: below this, a pivot of a matrix with unit diagonal is rounding


class RidgeSolution(NamedTuple):
    """All float64; a leading dimension b where the moments have one."""

    solution: Tensor  # (n, c)
    residual: Tensor  # (): the least squares distance
    rcond: Tensor  # (): 0 where a column of Z depends on those before it
    weights: Tensor | None  # (n, w) or (t, n, w) where a projection is given


def ridge_solve(
    moments: Tensor,
    targets: int,
    l2: float = 0.0,
    projection: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    free_bias: bool = False,
) -> RidgeSolution:
    """B = (G + l2 I)^-1 C of the moments [[G, C], [C', Y'Y]] of [Z Y], how well it fits, and the layers it gives.

    Thesis chapter 7: Z^+ Y by its normal equations, and W = Z^+ T for the targets T = alpha [Z, beta Y] P of hidden
    layers (section 7.3.2), without T.

    G + l2 I is scaled to a unit diagonal and factored by Cholesky's method in float64. The solution is refined once
    with a residual of twice the precision, which makes it right to the last digits where rcond is 1e-8 or more. A
    column of Z that depends on those before it (its pivot is at most 16 n 2^-52, or it is zero) is left out: its row of
    B is 0. So singular G, constant or repeated columns and m < n have the basic solution that uses the earliest
    columns. No value raises: where the moments hold NaN or infinity, every output of that entry of the batch is NaN.
    Nothing is differentiable: moments and projection are read as constants.

    Args:
        moments: float64 (b, n + c, n + c) or (n + c, n + c), symmetric, positive semidefinite; n from 1 to 65.
            moments[..., 0, 0] is the number of rows, as the first column of Z is the bias (`layer_moments`). The
            lower triangle of G is read.
        targets: c, from 1 to 64: the last c columns are Y.
        l2: what is added to the diagonal of G, 0 or more.
        projection: float64 (t, n + c, w), or (n + c, w): P, for moments without b; any w.
        alpha, beta: of T.
        free_bias: add no l2 to the first diagonal element.

    Returns:
        RidgeSolution(solution, residual, rcond, weights), float64:
        solution: (b, n, c), without b as the moments; B.
        residual: (b,): tr(Y'Y - 2 B'C + B'G B) / G[0, 0], at least 0: the sum over the columns of Y of the mean squared
            error (the least squares distance of thesis eq. 5.3). It is a difference: its error is about 2^-52
            tr(Y'Y) / G[0, 0]. 0 for G[0, 0] = 0.
        rcond: (b,): 1 / (|A|_1 |A^-1|_1) of A, G + l2 I scaled to a unit diagonal; 0 where a column was left out.
        weights: (t, n, w), without t as the projection: (G + l2 I)^-1 alpha [G, beta C] P
            = alpha (P_Z - l2 (G + l2 I)^-1 P_Z + beta B P_Y) for P = [P_Z; P_Y], so alpha (P_Z + beta B P_Y) without
            l2. None without a projection. A row of P whose factor is 0 is not looked at: NaN and infinity in it
            do not spread as in a matrix product.

    Raises:
        TypeError, ValueError: wrong dtypes, shapes or devices; l2 negative; a projection for a batch of moments.
    """
    way = route(OP, "moments", moments)
    if way == REFERENCE:
        return ridge_solve_ref(moments, targets, l2, projection, alpha=alpha, beta=beta, free_bias=free_bias)
    c, l2, alpha, beta = _check(moments, targets, l2, projection, alpha, beta, free_bias)
    if way_of_all(way, projection) == DISPATCHER:
        detached = None if projection is None else projection.detach()
        found = torch.ops.effdl_fast.ridge_solve(moments.detach(), c, l2, detached, alpha, beta, free_bias)
        return RidgeSolution(found[0], found[1], found[2], None if projection is None else found[3])
    return RidgeSolution(*_compute(moments, c, l2, projection, alpha, beta, free_bias))


def _check(
    moments: Tensor, targets: Any, l2: Any, projection: Any, alpha: Any, beta: Any, free_bias: Any
) -> tuple[int, float, float, float]:
    dense(OP, "moments", moments)
    if moments.dtype is not torch.float64:
        raise TypeError(f"{OP}: moments must be float64, got {dtype_name(moments.dtype)}")
    c = integer(OP, "targets", targets, 1, MAX_TARGETS)
    if moments.dim() not in (2, 3) or moments.shape[-1] != moments.shape[-2]:
        raise ValueError(f"{OP}: moments must have shape (b, n + c, n + c) or (n + c, n + c), "
                         f"got {tuple(moments.shape)}")  # fmt: skip
    if not 1 <= moments.shape[-1] - c <= MAX_COLUMNS:
        raise ValueError(f"{OP}: moments must have 1 to {MAX_COLUMNS} columns and {c} targets, "
                         f"got shape {tuple(moments.shape)}")  # fmt: skip
    boolean(OP, "free_bias", free_bias)
    l2 = number(OP, "l2", l2, booleans=False)
    if l2 < 0.0:
        raise ValueError(f"{OP}: l2 must be at least 0, got {l2}")
    alpha, beta = (number(OP, name, value, booleans=False) for name, value in (("alpha", alpha), ("beta", beta)))
    if projection is None:
        return c, l2, alpha, beta
    if not isinstance(projection, Tensor):
        raise TypeError(f"{OP}: projection must be a torch.Tensor or None, got {type(projection).__name__}")
    dense(OP, "projection", projection)
    if projection.dtype is not torch.float64:
        raise TypeError(f"{OP}: projection must be float64, got {dtype_name(projection.dtype)}")
    same_device(OP, "projection", projection, "moments", moments)
    if moments.dim() != 2:
        raise ValueError(f"{OP}: projection must be None for a batch of moments, got moments of shape "
                         f"{tuple(moments.shape)}")  # fmt: skip
    if projection.dim() not in (2, 3) or projection.shape[-2] != moments.shape[-1]:
        raise ValueError(f"{OP}: projection must have shape (t, {moments.shape[-1]}, w) or ({moments.shape[-1]}, w), "
                         f"got {tuple(projection.shape)}")  # fmt: skip
    return c, l2, alpha, beta


def _compute(
    moments: Tensor, c: int, l2: float, projection: Tensor | None, alpha: float, beta: float, free_bias: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    outputs = _outputs(moments, c, projection)
    workspace = None
    if projection is not None:
        projection = projection.resolve_neg().contiguous()
        if moments.is_cuda:
            n = moments.shape[-1]
            workspace = torch.empty(8 * (n - c) * n, dtype=torch.uint8, device=moments.device)
    moments = moments.resolve_neg().contiguous()
    _C.ridge_solve(moments, projection, *outputs, workspace, c, l2, free_bias, alpha, beta)
    return outputs


def _outputs(moments: Tensor, c: int, projection: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    batch, n, new = moments.shape[:-2], moments.shape[-1] - c, moments.new_empty
    weights = None if projection is None else new((*projection.shape[:-2], n, projection.shape[-1]))
    return new((*batch, n, c)), new(batch), new(batch), weights


Found = tuple[Tensor, Tensor, Tensor, Tensor]


def _run(
    moments: Tensor, c: int, l2: float, projection: Tensor | None, alpha: float, beta: float, free_bias: bool
) -> Found:
    c, l2, alpha, beta = _check(moments, c, l2, projection, alpha, beta, free_bias)
    solution, residual, rcond, weights = _compute(moments, c, l2, projection, alpha, beta, free_bias)
    return solution, residual, rcond, moments.new_empty(0) if weights is None else weights


def _fake(
    moments: Tensor, c: int, l2: float, projection: Tensor | None, alpha: float, beta: float, free_bias: bool
) -> Found:
    solution, residual, rcond, weights = _outputs(moments, c, projection)
    return solution, residual, rcond, moments.new_empty(0) if weights is None else weights


register(
    OP,
    "(Tensor moments, int targets, float l2, Tensor? projection, float alpha, float beta, bool free_bias) -> "
    "(Tensor solution, Tensor residual, Tensor rcond, Tensor weights)",
    _run,
    _fake,
)


def ridge_solve_ref(
    moments: Tensor,
    targets: int,
    l2: float = 0.0,
    projection: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    free_bias: bool = False,
) -> RidgeSolution:
    """`ridge_solve` in plain PyTorch: Cholesky's method a column at a time, nothing refined."""
    c, l2, alpha, beta = _check(moments, targets, l2, projection, alpha, beta, free_bias)
    moments = moments.detach()
    n = moments.shape[-1] - c
    gram, cross, squares = moments[..., :n, :n], moments[..., :n, n:], moments[..., n:, n:]
    gram = gram.tril() + gram.tril(-1).mT
    ridge = torch.full((n,), l2, dtype=torch.float64, device=moments.device)
    if free_bias:
        ridge[0] = 0.0
    a = gram + torch.diag(ridge)
    diagonal = a.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(diagonal > 0, diagonal.rsqrt(), 0.0)
    scaled = a * scale[..., :, None] * scale[..., None, :]
    factor, used = _cholesky(scaled)
    eye = torch.eye(n, dtype=torch.float64, device=moments.device)
    root = torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)
    inverse = (root.mT @ root) * used[..., :, None] * used[..., None, :]

    def solve(right: Tensor) -> Tensor:
        """Of G + l2 I, the rows that are left out 0."""
        right = right * (scale * used)[..., :, None]
        half = torch.linalg.solve_triangular(factor, right, upper=False)
        return torch.linalg.solve_triangular(factor.mT, half, upper=True) * (scale * used)[..., :, None]

    solution = solve(cross)
    rows = gram[..., 0, 0]
    fit = (squares.diagonal(dim1=-2, dim2=-1).sum(-1) - 2.0 * (solution * cross).sum((-2, -1))
           + (solution * (gram @ solution)).sum((-2, -1)))  # fmt: skip
    residual = torch.where(rows != 0, fit / rows, 0.0).clamp(min=0.0)
    norms = [x.abs().sum(-2).amax(-1) for x in (scaled, inverse)]
    rcond = torch.where(used.all(-1), 1.0 / (norms[0] * norms[1]), 0.0)
    bad = ~(moments.isfinite().all(-1).all(-1) & diagonal.isfinite().all(-1))
    weights = None
    if projection is not None:
        first, last = projection.detach()[..., :n, :], projection.detach()[..., n:, :]
        weights = first + beta * (solution @ last)
        if l2 > 0.0:
            both = (inverse * scale[:, None]) * scale
            weights = weights - both @ (ridge[:, None] * first)
        weights = torch.where(bad, torch.nan, alpha * weights)
    solution = torch.where(bad[..., None, None], torch.nan, solution)
    return RidgeSolution(solution, torch.where(bad, torch.nan, residual), torch.where(bad, torch.nan, rcond), weights)


def _cholesky(a: Tensor) -> tuple[Tensor, Tensor]:
    """The lower factor of matrices with unit diagonal, and which columns it uses.

    The others have a row and a column of the identity.
    """
    n = a.shape[-1]
    factor, used = torch.zeros_like(a), torch.zeros_like(a[..., 0], dtype=torch.bool)
    for j in range(n):
        row = factor[..., j, :j]
        pivot = a[..., j, j] - (row * row).sum(-1)
        use = pivot > n * PIVOT
        used[..., j] = use
        below = a[..., j + 1 :, j] - (factor[..., j + 1 :, :j] @ row[..., None])[..., 0]
        factor[..., j + 1 :, j] = torch.where(use[..., None], below / pivot.sqrt()[..., None], 0.0)
        factor[..., j, :j] = torch.where(use[..., None], row, 0.0)
        factor[..., j, j] = torch.where(use, pivot.sqrt(), 1.0)
    return factor, used

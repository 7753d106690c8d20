"""Least squares of a layer: from moments, from a triangular factor, or from the samples themselves.

With Z (m, n) the representation, its first column the bias, and Y (m, c): B minimises |Y - Z B|^2 + l2 |B|^2,
and a layer's weights are W = (Z'Z + l2 I)^-1 Z'T of the targets T = alpha [Z, beta Y] P (thesis 7.3.2 and 7.5.2).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from effdl_fast import ops
from effdl_fast.ops.layer_moments import MAX_WIDTH

EPS = torch.finfo(torch.float64).eps
TRUST = 1e-12  # the rcond below which moments have lost too much to rounding
STEPS = 6  # of the power iterations that estimate a condition number


class Target(NamedTuple):
    """T = alpha [Z, beta Y] P; P (n + c, w), or (t, n + c, w) for several tries."""

    projection: Tensor
    alpha: float
    beta: float

    def weights(self, n: int, shrunk: Tensor, solution: Tensor) -> Tensor:
        """alpha ((G + l2 I)^-1 G P_Z + beta B P_Y)"""
        return self.alpha * (shrunk + self.beta * (solution @ self.projection[..., n:, :]))


class LeastSquares(NamedTuple):
    solution: Tensor  # (n, c)
    lsd: Tensor  # (): the mean over samples of the squared error, summed over the columns of Y
    rcond: Tensor  # (): of G + l2 I scaled to a unit diagonal, or of Z, squared; an estimate
    weights: Tensor | None  # (n, w) or (t, n, w), if a target is given
    route: str  # "moments", "triangle", "pinv" or "lstsq"


def narrow(n: int, c: int) -> bool:
    return n <= MAX_WIDTH + 1 and 1 <= c <= MAX_WIDTH


def from_moments(moments: Tensor, c: int, l2: float, target: Target | None) -> LeastSquares:
    """By Cholesky's method on the moments [Z Y]'[Z Y]; rcond is 0 or NaN where that says nothing."""
    n = moments.shape[-1] - c
    if narrow(n, c):
        if target is None:
            found = ops.ridge_solve(moments, c, l2)
        else:
            found = ops.ridge_solve(moments, c, l2, target.projection, alpha=target.alpha, beta=target.beta)
        return LeastSquares(*found, "moments")
    gram, cross = moments[:n, :n], moments[:n, n:]
    a = gram.clone()
    a.diagonal().add_(l2)
    scale = torch.where(a.diagonal() > 0, a.diagonal().rsqrt(), 0.0)
    a.mul_(scale[:, None]).mul_(scale)
    factor, failed = torch.linalg.cholesky_ex(a)

    def solve(right: Tensor) -> Tensor:
        return scale[:, None] * _by_factor(factor, scale[:, None] * right)

    rcond = torch.where(failed == 0, _rcond(a, factor), 0.0)
    solution = solve(cross)
    solution = solution + solve(cross - gram @ solution - l2 * solution)
    error = moments.diagonal()[n:].sum() + (solution * (gram @ solution - 2.0 * cross)).sum()
    weights = None
    if target is not None:
        part = target.projection[..., :n, :]
        if l2 > 0:
            flat = part.movedim(-2, 0).reshape(n, -1)
            shrunk = (flat - l2 * solve(flat)).reshape(n, *part.shape[:-2], part.shape[-1]).movedim(0, -2)
        else:
            shrunk = part
        weights = target.weights(n, shrunk, solution)
    return LeastSquares(solution, (error / moments[0, 0]).clamp(min=0.0), rcond, weights, "moments")


def _by_factor(factor: Tensor, right: Tensor) -> Tensor:
    """(L L')^-1 right. torch.cholesky_solve would copy the factor."""
    half = torch.linalg.solve_triangular(factor, right, upper=False)
    return torch.linalg.solve_triangular(factor.mT, half, upper=True)


def _rcond(a: Tensor, factor: Tensor) -> Tensor:
    """Smallest over largest eigenvalue, by power iterations from a fixed start: at least the true ratio."""
    v = torch.linspace(1.0, 2.0, a.shape[0], dtype=a.dtype, device=a.device)
    u = v.flip(0).clone()
    u[::2] *= -1
    largest = smallest = v.new_ones(())
    for _ in range(STEPS):
        v, u = a @ (v / v.norm()), _by_factor(factor, (u / u.norm())[:, None])[:, 0]
        largest, smallest = v.norm(), u.norm()
    return 1.0 / (largest * smallest)


def triangle(factor: Tensor | None, rows: Tensor) -> Tensor:
    """The triangular factor of `factor` with further rows of [Z Y] below it."""
    return torch.linalg.qr(rows if factor is None else torch.cat([factor, rows]), mode="r").R


def root(moments: Tensor) -> tuple[Tensor, float]:
    """R with R'R = moments, and the share of the largest up to which its singular values are rounding."""
    values, vectors = torch.linalg.eigh(moments)
    return values.clamp(min=0.0).sqrt()[:, None] * vectors.mT, (len(values) * EPS) ** 0.5


def distance(moments: Tensor, c: int, l2: float) -> Tensor:
    """The least squares distance alone, of singular moments too; infinite where they are not finite."""
    if not bool(torch.isfinite(moments).all()):
        return moments.new_full((), torch.inf)
    found = from_moments(moments, c, l2, None)
    if not bool(found.rcond > TRUST):
        factor, rtol = root(moments)
        found = from_triangle(factor, float(moments[0, 0]), c, l2, None, rtol=rtol)
    return found.lsd


def from_triangle(factor: Tensor, m: float, c: int, l2: float, target: Target | None, *, atol: float = 0.0,
                  rtol: float | None = None) -> LeastSquares:  # fmt: skip
    """From R with R'R = [Z Y]'[Z Y], by singular values; those up to max(atol, rtol times the largest) count as 0.

    Of all solutions the one of least norm, as by the pseudo-inverse. rtol: max(m, n) times the float64 epsilon.
    """
    n = factor.shape[1] - c
    left, right = factor[:, :n], factor[:, n:]
    if l2 > 0:
        left = torch.cat([left, l2**0.5 * torch.eye(n, dtype=factor.dtype, device=factor.device)])
        right = torch.cat([right, right.new_zeros((n, c))])
    u, values, vh = torch.linalg.svd(left, full_matrices=False)
    inverse, rcond = _inverted(values, atol, max(m, n) * EPS if rtol is None else rtol)
    solution = vh.mT @ (inverse[:, None] * (u.mT @ right))
    lsd = (factor[:, n:] - factor[:, :n] @ solution).square().sum() / m
    weights = None
    if target is not None:
        part = target.projection[..., :n, :]
        inside = vh @ part
        shrunk = vh.mT @ ((inverse > 0)[:, None] * inside)
        if l2 > 0:
            shrunk = shrunk - l2 * (vh.mT @ (inverse.square()[:, None] * inside))
        weights = target.weights(n, shrunk, solution)
    return LeastSquares(solution, lsd, rcond, weights, "triangle")


def _inverted(values: Tensor, atol: float, rtol: float) -> tuple[Tensor, Tensor]:
    """1 / values, or 0 for those that count as 0; and the square of the smallest that counts over the largest."""
    largest = values[:1].sum()
    kept = values > (rtol * largest).clamp(min=atol)
    smallest = torch.where(kept, values, torch.inf).amin() if len(values) else largest
    rcond = torch.where(kept.all() & (largest > 0), (smallest / largest).square(), 0.0)
    return torch.where(kept, values.reciprocal(), 0.0), rcond


def from_samples(z: Tensor, y: Tensor, solver: str, target: Target | None, *, atol: float | None) -> LeastSquares:
    """The thesis's own way (Fig. 7.3, sections 7.5.1 and 7.6.2), in the dtype of z: T is formed, then

    "pinv": Z^+ T from one singular value decomposition, with torch.linalg.pinv's tolerance or `atol`;
    "lstsq": torch.linalg.lstsq of [Y T].
    """
    z = torch.cat([z.new_ones((z.shape[0], 1)), z], dim=1)
    several, wanted = None, y
    if target is not None:
        both = torch.cat([z, target.beta * y], dim=1)
        projection = target.projection.to(z.dtype)
        several = (target.alpha * both) @ projection
        wanted = torch.cat([y, several.movedim(-2, 0).reshape(z.shape[0], -1)], dim=1)
    if solver == "pinv":
        u, values, vh = torch.linalg.svd(z, full_matrices=False)
        eps = torch.finfo(z.dtype).eps
        relative = max(z.shape) * eps if atol is None else 0.0
        inverse, rcond = _inverted(values, atol or 0.0, relative)
        found = vh.mT @ (inverse[:, None] * (u.mT @ wanted))
        rcond = rcond.double()
    else:
        found = torch.linalg.lstsq(z, wanted).solution
        rcond = torch.full((), torch.nan, dtype=torch.float64, device=z.device)
    solution = found[:, : y.shape[1]]
    weights = None
    if several is not None:
        weights = found[:, y.shape[1] :].reshape(-1, *several.shape[:-2], several.shape[-1]).movedim(0, -2)
    lsd = (y - z @ solution).double().square().sum() / z.shape[0]
    return LeastSquares(solution, lsd, rcond, weights, solver)

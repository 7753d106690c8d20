"""How far a representation is from the target, as seen by the best linear map (thesis 5.3.1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from effdl_fast.metrics._inputs import blocks, check_finite, classes, matrix, samples
from effdl_fast.metrics.filtering import as_tensor
from effdl_fast.ops._arguments import number

OP = "least_squares_distance"

EPS = torch.finfo(torch.float64).eps
# The moments square the condition number. Their answer stands where the bound on its error is below this share of it.
TRUSTED = 1e-9
SMALL = 1e-290  # moments below have lost digits to underflow, or all


def least_squares_distance(z: Any, y: Any, *, bias: bool = False, rtol: float | None = None) -> Tensor:
    """The least squares distance (1/m) ||Y - Z Z^+ Y||_F^2 of a representation to the target (equation 5.3).

    That is the mean squared error, summed over the columns of Y, of the best linear map from Z to Y. It decreases from
    layer to layer in a trained network (5.2), and lies between 0 and ||Y||_F^2 / m, which is 1 for class labels.

    Computed in float64 from the values as given, without a pseudo-inverse: from the triangular factor of [Z Y], built
    up from blocks of rows, and its singular values; or, where m > 4 f, from the moments Z'Z, Z'Y and Y'Y by Cholesky,
    if a bound on the error (from the condition number of Z'Z with unit columns) is below 1e-9 of the result and no
    singular value can be one that counts as 0. For m < f
    the factor is that of Z', and the distance is 0 where the rows of Z are linearly independent.
    Takes memory for a block of rows and a few matrices of the smaller side of Z in float64.

    Args:
        z: (m, f), or (m, ...) which is flattened: float32, float64, float16, bfloat16 or uint8.
        y: (m,) class labels of any integer dtype (or bool), which stand for one-hot rows, one column for each class
            that is there; or (m, c) dense targets, or (m,) of a floating dtype, one target.
        bias: whether to append a column of ones to z (an affine map; the thesis has none).
        rtol: singular values of z at or below rtol times the largest one count as 0; max(m, f) times the float64
            epsilon without it, as numpy.linalg.pinv does for float64. 1e-6 disregards what float32 rounding adds.

    Returns:
        float64 0-d tensor on z's device.

    Raises:
        ValueError: no samples, NaN or infinity (the message names the row), shapes or devices that do not fit.
        TypeError: wrong dtypes.
    """
    z = samples(OP, "z", z)
    target = _Target(y, z)
    if rtol is not None and not 0 <= (rtol := number(OP, "rtol", rtol)) < 1:
        raise ValueError(f"{OP}: rtol must be at least 0 and below 1, got {rtol}")
    m, f = z.shape[0], z.shape[1] + bool(bias)
    cut = max(m, f) * EPS if rtol is None else rtol
    rows = _Rows(z, target, bool(bias))
    if m < f:
        residual = _wide_residual(rows, cut)
    else:
        quick = _moment_residual(rows, cut) if m > 4 * f and rtol is None else None
        residual = _tall_residual(rows, cut) if quick is None else quick
    return residual / m


class _Target:
    """Y, float64 rows on demand."""

    def __init__(self, y: Any, z: Tensor) -> None:
        y = as_tensor(OP, "y", y).to(z.device)
        if y.dim() > 1 or y.is_floating_point():
            y = matrix(OP, "y", y)
            if y.shape[0] != z.shape[0]:
                raise ValueError(f"{OP}: y must have {z.shape[0]} rows as z has, got {y.shape[0]}")
            check_finite(OP, "y", y)
            self.columns, self.y, self.dense = y.shape[1], y, True
        else:
            found, index = classes(OP, y, z)
            self.columns, self.y, self.dense = len(found), index, False

    def __call__(self, begin: int, end: int) -> Tensor:
        part = self.y[begin:end]
        return part.double() if self.dense else torch.nn.functional.one_hot(part, self.columns).double()


class _Rows:
    """Rows of [Z 1] and Y in float64, a block at a time."""

    def __init__(self, z: Tensor, target: _Target, bias: bool) -> None:
        self.z, self.target, self.bias = z, target, bias
        self.m, self.f, self.c = z.shape[0], z.shape[1] + bias, target.columns

    def features(self, begin: int, end: int) -> Tensor:
        block = self.z[begin:end].double()
        return torch.cat([block, block.new_ones(len(block), 1)], dim=1) if self.bias else block

    def column_block(self, begin: int, end: int) -> Tensor:
        block = self.z[:, begin : min(end, self.z.shape[1])].double()
        return torch.cat([block, block.new_ones(self.m, 1)], dim=1) if end > self.z.shape[1] else block

    def ranges(self) -> list[tuple[int, int]]:
        return blocks(self.m, self.f + self.c)


def _moment_residual(rows: _Rows, cut: float) -> Tensor | None:
    """||Y - Z Z^+ Y||^2 from the moments; None where their error may be too large, or a singular value of Z, not 0,
    may be at or below `cut` times the largest one."""
    f, c = rows.f, rows.c
    moments = rows.z.new_zeros((f + c, f + c), dtype=torch.float64)
    for begin, end in rows.ranges():
        both = torch.cat([rows.features(begin, end), rows.target(begin, end)], dim=1)
        moments.addmm_(both.T, both)
    total = moments.diagonal()[f:].sum()
    small = (moments.diagonal()[:f] < SMALL).nonzero()[:, 0]
    if len(small) and any(bool((rows.features(*part)[:, small] != 0).any()) for part in rows.ranges()):
        return None
    kept = (moments.diagonal()[:f] > 0).nonzero()[:, 0]  # dead units add nothing
    scale = moments.diagonal()[kept].sqrt()
    gram = moments[kept[:, None], kept] / (scale[:, None] * scale)
    if not len(kept):
        return total
    if not bool(torch.isfinite(gram).all()):
        return None
    values = torch.linalg.eigvalsh(gram)
    factor, failed = torch.linalg.cholesky_ex(gram)
    if int(failed) or float(values[0]) <= 0:
        return None
    # Z = (Z with unit columns) diag(scale): no singular value is below the one product, none is above the other.
    if bool(values[0].sqrt() * scale.min() <= cut * values[-1].sqrt() * scale.max()):
        return None
    cross = torch.linalg.solve_triangular(factor, moments[kept, f:] / scale[:, None], upper=False)
    residual = total - cross.square().sum()
    error = len(kept) * EPS * values[-1] / values[0] * total
    return residual if bool(error <= TRUSTED * residual) else None


def _tall_residual(rows: _Rows, cut: float) -> Tensor:
    """For m >= f: [Z Y] = Q [[R, S], [0, T]]. What Z cannot reach is T, and the part of S outside of R's range."""
    f = rows.f
    factor = rows.z.new_zeros((0, f + rows.c), dtype=torch.float64)
    step = max(rows.ranges()[0][1], 2 * (f + rows.c))
    for begin in range(0, rows.m, step):
        end = min(rows.m, begin + step)
        both = torch.cat([rows.features(begin, end), rows.target(begin, end)], dim=1)
        factor = torch.linalg.qr(torch.cat([factor, both]), mode="r").R
    outside = factor[f:, f:].square().sum()
    return outside + _outside_range(factor[:f, :f], factor[:f, f:], cut)


def _wide_residual(rows: _Rows, cut: float) -> Tensor:
    """For m < f: Z' = Q R, so that Z and R' (m, m) have the same range and the same singular values."""
    m = rows.m
    factor = rows.z.new_zeros((0, m), dtype=torch.float64)
    step = max(rows.ranges()[0][1], 2 * m)
    for begin in range(0, rows.f, step):
        block = rows.column_block(begin, min(rows.f, begin + step)).T
        factor = torch.linalg.qr(torch.cat([factor, block]), mode="r").R
    return _outside_range(factor.T, rows.target(0, m), cut)


def _outside_range(a: Tensor, b: Tensor, cut: float) -> Tensor:
    """||B - A A^+ B||_F^2 of a square A."""
    if not a.shape[0]:
        return b.square().sum()
    u, values, _ = torch.linalg.svd(a)
    rank = int((values > cut * values[0]).sum())
    return (u[:, rank:].T @ b).square().sum()

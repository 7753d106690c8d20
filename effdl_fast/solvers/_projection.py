"""Projections P of T = alpha [Z, beta Y] P, and Sorted PCA (thesis 7.5, 7.8)."""

from __future__ import annotations

import torch
from torch import Tensor

EIGH = 1024  # columns up to which all eigenvectors are found for the first one


def random(rows: int, width: int, tries: int, generator: torch.Generator, device: torch.device | None) -> Tensor:
    """(tries, rows, width) float64 from N(0, 1) (section 7.5); without `tries` for one."""
    shape = (rows, width) if tries == 1 else (tries, rows, width)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(device)


def platonic_pca(moments: Tensor, c: int, beta: float, width: int) -> Tensor:
    """The principal components of A = [Z, beta Y], of largest variance first (section 7.8.1); (n + c, width).

    About the origin, not the mean: with beta large and one-hot Y the first c are then the classes themselves, one each,
    and their signs are chosen so that the columns of T = A P have sums of 0 or more: what is T > 0 passes ReLU. About
    the mean, or with signs as they come, much of the accuracy that thesis Table 7.3 reports is lost. Where the sums are
    0 within rounding, the largest element is positive. float64 holds both parts of [Z, beta Y] for beta up to about
    1e5 times the size of Z; beyond, components other than the first c are rounding more and more.
    """
    n = moments.shape[0] - c
    scale = torch.cat([moments.new_ones(n), moments.new_full((c,), beta)])
    values, components = (x.flip(-1)[..., :width] for x in torch.linalg.eigh(moments * scale[:, None] * scale))
    sums = (moments[0] * scale) @ components
    largest = components.gather(0, components.abs().argmax(0, keepdim=True))[0]
    clear = sums.abs() > 1e-6 * (moments[0, 0] * values.clamp(min=0.0)).sqrt()  # of the largest that a sum can be
    return components * torch.where(torch.where(clear, sums, largest) < 0, -1.0, 1.0)


def mixed_pca(moments: Tensor, c: int, beta: float, width: int, mixing: float, generator: torch.Generator) -> Tensor:
    """Platonic PCA as single precision computes it where beta is large; (n + c, width).

    The first c components lie in Y. For the others, beta times the rounding of their Y part is not small: they become
    an orthonormal basis of no particular direction, each with a share of Y at random. Here both are drawn: beta Y has
    `mixing` times the root mean square of Z in each column of T.
    """
    n, m = moments.shape[0] - c, moments[0, 0]
    squares = moments[n:, n:]
    leading = torch.linalg.eigh(squares)[1].flip(1)[:, :width]
    leading = leading * torch.where(moments[0, n:] @ leading < 0, -1.0, 1.0)
    rest = width - leading.shape[1]
    z = torch.randn((n, rest), generator=generator, dtype=torch.float64).to(moments.device)
    if 0 < rest <= n:
        z = torch.linalg.qr(z).Q
    spread = ((z * (moments[:n, :n] @ z)).sum(0) / m).clamp(min=0).sqrt()
    y = torch.randn((c, rest), generator=generator, dtype=torch.float64).to(moments.device)
    size = (squares.diagonal().sum() / m).sqrt().clamp(min=torch.finfo(torch.float64).tiny)
    y = y * (mixing * spread / (beta * size))
    return torch.cat([torch.cat([leading.new_zeros(n, leading.shape[1]), z], 1), torch.cat([leading, y], 1)])


def first_component(moments: Tensor, features: int) -> Tensor:
    """The first principal component of X (features,), float64, its largest element positive."""
    m, sums = moments[0, 0], moments[0, 1 : 1 + features]
    covariance = moments[1 : 1 + features, 1 : 1 + features] / m - torch.outer(sums / m, sums / m)
    if features <= EIGH:
        vector = torch.linalg.eigh(covariance)[1][:, -1]
    else:
        start = torch.linspace(1.0, 2.0, features, dtype=covariance.dtype, device=covariance.device)[:, None]
        vector = torch.lobpcg(covariance, k=1, X=start)[1][:, 0]
    return vector * torch.where(vector[vector.abs().argmax()] < 0, -1.0, 1.0)


def evenly_spaced(samples: int, width: int) -> Tensor:
    """The places, in the order along the first principal component, of the samples to take (Fig. 7.14)."""
    places = torch.arange(width, dtype=torch.float64) * (samples / width)
    return places.round().long().clamp(max=samples - 1)

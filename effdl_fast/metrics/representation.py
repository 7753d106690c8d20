"""How much a representation still tells apart (thesis 5.3.5)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from effdl_fast.metrics._inputs import blocks, samples, seeded
from effdl_fast.metrics.filtering import Generator
from effdl_fast.ops._arguments import integer, number

OP = "representational_entropy"
NEAR_1 = 1e-6  # orders nearer to 1 are 1: the quotient loses its digits
KERNELS = ("cosine", "gaussian")


def representational_entropy(
    z: Any,
    *,
    alpha: float = 1.0,
    kernel: str = "cosine",
    width: float = 0.2,
    max_samples: int = 2048,
    generator: Generator = 0,
) -> Tensor:
    """The representational entropy H(Z) in bits (5.3.5, equation 5.9), by the spectrum of the Gram matrix.

    The entropy of a continuous variable of hundreds of dimensions cannot be estimated from samples. In its place
    stands the matrix-based entropy of Sanchez Giraldo, Rao and Principe (2015): A is the matrix of similarities of the
    samples divided by m, so that its eigenvalues p_i are a distribution, and H = -sum p_i log2 p_i; or, for alpha other
    than 1, Renyi's log2(sum p_i^alpha) / (1 - alpha).

    It is 0 where all samples are alike, log2 m where no two of them have anything in common, and exactly H(Y) where the
    samples of a class are alike and those of different classes have similarity 0: the end of the chain (5.9),
    H(X) > H(Z_1) > ... > H(Z_k) = H(Y). What it cannot see: "cosine" measures the linear structure, at most log2 of the
    number of features; both are at most log2 m, so compare equal numbers of samples only.

    Args:
        z: (m, f), or (m, ...) which is flattened: float32, float64, float16, bfloat16 or uint8.
        alpha: order, above 0; 1, and what is within 1e-6 of it, is von Neumann's entropy. Larger ones look
            at the largest eigenvalues only.
        kernel: "cosine" of the angle between two samples as seen from the origin (zero samples are alike, and like no
            others); or "gaussian", exp(-d^2 / (2 s^2)) of their distance d.
        width: of "gaussian": s as a share of the root mean square distance of the samples, above 0.
        max_samples: of more samples so many are drawn at random, as the eigenvalues of an m x m matrix are needed
            ("cosine" needs them of the smaller of m and f, but is estimated from as many samples).
        generator: that draws them: a CPU generator, or the seed of one; None: torch's default.

    Returns:
        float64 0-d tensor on the device of z.

    Raises:
        ValueError: no samples, NaN or infinity (the message names the row), numbers out of range.
        TypeError: wrong dtypes or types.
    """
    alpha, width = number(OP, "alpha", alpha), number(OP, "width", width)
    if alpha <= 0:
        raise ValueError(f"{OP}: alpha must be above 0, got {alpha}")
    if width <= 0:
        raise ValueError(f"{OP}: width must be above 0, got {width}")
    if kernel not in KERNELS:
        raise ValueError(f"{OP}: kernel must be one of {', '.join(KERNELS)}, got {kernel!r}")
    most = integer(OP, "max_samples", max_samples, 1, 1 << 15)
    drawing = seeded(OP, generator)
    z = samples(OP, "z", z)
    if len(z) > most:
        z = z[draw(len(z), most, drawing).to(z.device)]
    gram = _cosine(z) if kernel == "cosine" else _gaussian(z, width)
    share = torch.linalg.eigvalsh(gram / len(z)).clamp(min=0)
    share = share / share.sum()
    if abs(alpha - 1) < NEAR_1:
        return torch.special.entr(share).sum() / math.log(2)
    # By logarithms: powers of a large order underflow.
    return (torch.logsumexp(alpha * share.log(), dim=0) / ((1 - alpha) * math.log(2))).clamp(min=0)


def draw(n: int, count: int, generator: torch.Generator | None) -> Tensor:
    """Ascending indices of `count` of n samples."""
    return torch.randperm(n, generator=generator)[:count].sort().values


def _cosine(z: Tensor) -> Tensor:
    """float64 (m, m), or (f, f) with the same eigenvalues but for zeros."""
    m, f = z.shape
    norms, largest = z.new_empty(m, dtype=torch.float64), z.new_empty(m, dtype=torch.float64)
    for begin, end in blocks(m, f):
        block = z[begin:end].double()
        largest[begin:end] = block.abs().amax(dim=1) if f else 0  # so that no square overflows
        scaled = block / torch.where(largest[begin:end] > 0, largest[begin:end], 1)[:, None]
        norms[begin:end] = torch.linalg.vector_norm(scaled, dim=1)
    zero = largest == 0
    inverse = torch.where(zero, 0, 1 / norms)[:, None]
    largest = torch.where(zero, 1, largest)[:, None]
    if m <= f:
        gram = zero[:, None].double() * zero
        for begin, end in blocks(f, m):
            part = z[:, begin:end].double() / largest * inverse
            gram.addmm_(part, part.T)
        return gram
    gram = z.new_zeros((f + 1, f + 1), dtype=torch.float64)
    for begin, end in blocks(m, f):
        unit = z[begin:end].double() / largest[begin:end] * inverse[begin:end]
        gram[:f, :f].addmm_(unit.T, unit)
    gram[f, f] = zero.sum()
    return gram


def _gaussian(z: Tensor, width: float) -> Tensor:
    m, f = z.shape
    squares = z.new_zeros((m, m), dtype=torch.float64)
    largest = z.abs().amax().double() if f else z.new_ones((), dtype=torch.float64)  # so that no square overflows
    largest = torch.where(largest > 0, largest, 1)
    for begin, end in blocks(f, m):
        part = z[:, begin:end].double() / largest
        squares += torch.cdist(part, part, compute_mode="donot_use_mm_for_euclid_dist").square()
    scale = squares.mean() * 2 * width**2
    return torch.where(squares > 0, (-squares / scale).exp(), 1.0)

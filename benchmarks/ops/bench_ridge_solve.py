"""ridge_solve against the same by torch.linalg, eager and compiled; the floor is torch.linalg.cholesky alone."""

from collections.abc import Iterator

import torch
from torch import Tensor

from effdl_fast import ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "ridge_solve"
CHOLESKY = "torch.linalg.cholesky alone"
TARGET = 2.0  # over plain PyTorch


def plain(moments: Tensor, c: int, l2: float, projection: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of columns that are independent, not scaled or refined. The condition of a symmetric matrix by its inverse."""
    n = moments.shape[-1] - c
    gram, cross = moments[..., :n, :n], moments[..., :n, n:]
    a = gram + l2 * torch.eye(n, dtype=moments.dtype, device=moments.device)
    factor = torch.linalg.cholesky(a)
    solution = torch.cholesky_solve(cross, factor)
    squares = moments[..., n:, n:].diagonal(dim1=-2, dim2=-1).sum(-1)
    fit = squares - (2 * solution * cross).sum((-2, -1)) + (solution * (gram @ solution)).sum((-2, -1))
    inverse = torch.cholesky_inverse(factor)
    rcond = 1 / (torch.linalg.matrix_norm(a, 1) * torch.linalg.matrix_norm(inverse, 1))
    weights = solution
    if projection is not None:
        weights = projection[..., :n, :] + solution @ projection[..., n:, :]
        if l2 > 0:
            weights = weights - l2 * (inverse @ projection[..., :n, :])
    return solution, fit / moments[..., 0, 0], rcond, weights


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for case, batch, n, c, l2, tries in (
        ("one layer", 0, 13, 1, 0.0, 1),
        ("50 projections", 0, 13, 1, 0.1, 50),
        ("50 layers", 50, 13, 1, 0.0, 0),
        ("one layer", 0, 65, 10, 0.1, 1),
        ("50 layers", 50, 65, 10, 0.1, 0),
    ):
        with w.one_core(device):  # torch's own threads are a burden at these sizes
            yield _race(case, batch, n, c, l2, tries, device, quick)
        if quick:
            return


def _race(case: str, batch: int, n: int, c: int, l2: float, tries: int, device: torch.device, quick: bool) -> Race:
    g = torch.Generator().manual_seed(0)
    z = torch.randn(max(batch, 1), 500, n + c, generator=g, dtype=torch.float64)
    z[..., 0] = 1.0
    moments = (z.mT @ z).to(device)
    moments = moments if batch else moments[0]
    projection = torch.randn(tries, n + c, n - 1, generator=g, dtype=torch.float64).to(device) if tries else None

    def run() -> ops.RidgeSolution:
        return ops.ridge_solve(moments, c, l2, projection)

    def check() -> None:
        ours, wanted = run(), plain(moments, c, l2, projection)
        for a, b in ((ours.solution, wanted[0]), (ours.residual, wanted[1]), (ours.weights, wanted[3])):
            if a is not None and float((a - b).abs().max()) > 1e-10:
                raise AssertionError("ours differs from plain PyTorch")

    peer, why = w.compiled(plain, quick, moments, c, l2, projection)
    contestants = [Contestant(OURS, run), Contestant(w.EAGER, lambda: plain(moments, c, l2, projection)), *peer,
                   Contestant(CHOLESKY, lambda: torch.linalg.cholesky(moments[..., :n, :n]))]  # fmt: skip
    moved = moments.nbytes + (0 if projection is None else projection.nbytes)
    return Race(OP, f"{case}, {n} columns, {c} targets, l2 = {l2}", contestants, moved, check, CHOLESKY,
                [Target(w.EAGER, TARGET)], device, why)  # fmt: skip

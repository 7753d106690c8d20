"""One layer's least squares problem: solved in the cheapest way that its condition allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from effdl_fast.solvers._least_squares import TRUST, LeastSquares, Target, from_moments, from_samples, from_triangle
from effdl_fast.solvers._representation import Representation, Stored

# Reciprocal condition numbers (of the moments with a unit diagonal) below which they are taken anew: in float64 where
# products were float32, and after that not at all but a triangular factor of the samples.
TRUST_FLOAT32, TRUST_FLOAT64 = 1e-6, TRUST
TINY = 1e-12  # share of |Y|^2 that is left, below which moments have lost it to rounding


@dataclass(frozen=True)
class Solver:
    """How to solve: by "ridge" on moments, or the thesis's "pinv" and "lstsq" on the samples."""

    name: str
    l2: float
    atol: float | None

    def solve(self, z: Representation, c: int, where: str, target: Target | None = None) -> LeastSquares:
        """Of the present representation. ValueError that names the layer where it is not finite."""
        moments = z.moments()
        if self.name != "ridge" and isinstance(z, Stored) and not z.group.active:
            check(moments, where)
            found = from_samples(z.z, z.y, self.name, target, atol=self.atol)
            check(found.solution, where)
            return found
        if self.name != "ridge":
            check(moments, where)
            return self._triangle(z, c, target)
        found = from_moments(moments, c, self.l2, target)
        rcond, lsd = torch.stack([found.rcond, found.lsd]).tolist()
        if z.rounded and not (rcond >= TRUST_FLOAT32 and math.isfinite(lsd)):
            moments = z.moments(precise=True)
            found = from_moments(moments, c, self.l2, target)
            rcond, lsd = torch.stack([found.rcond, found.lsd]).tolist()
        if not math.isfinite(lsd):
            check(moments, where)
        if not rcond >= TRUST_FLOAT64 or lsd <= TINY * float(moments.diagonal()[-c:].sum() / moments[0, 0]):
            found = self._triangle(z, c, target)
            check(found.solution, where)
        return found

    def softer(self, z: Representation, c: int) -> tuple[Tensor, float]:
        """The solution without directions that float32 cannot tell from rounding, in z's dtype, and what it leaves."""
        factor, _ = z.triangle()
        l2 = self.l2 if self.name == "ridge" else 0.0
        rtol = factor.shape[1] * torch.finfo(torch.float32).eps
        solution = from_triangle(factor, float(z.moments()[0, 0]), c, l2, None, rtol=rtol).solution.to(z.dtype)
        return solution, z.distance(solution)

    def weighted(self, z: Representation, c: int, where: str, moments: Tensor, target: Target) -> Tensor:
        """Weights for T = alpha [Z, beta d*Y] P; `moments` those of [Z d*Y]."""
        if self.name != "ridge" and isinstance(z, Stored) and z.d is not None and not z.group.active:
            found = from_samples(z.z, z.d * z.y, self.name, target, atol=self.atol)
        else:
            found = from_moments(moments, c, self.l2, target)
            if self.name != "ridge" or not bool(found.rcond >= TRUST_FLOAT64):
                found = self._triangle(z, c, target, moments)
        assert found.weights is not None
        check(found.weights, where)
        return found.weights

    def _triangle(
        self, z: Representation, c: int, target: Target | None, weighted: Tensor | None = None
    ) -> LeastSquares:
        factor, rtol = z.triangle()
        m = float(z.moments()[0, 0])
        if weighted is not None:  # R_11'S = Z'(d*Y)
            n = factor.shape[1] - c
            u, values, vh = torch.linalg.svd(factor[:, :n], full_matrices=False)
            kept = values > max(m, n) * torch.finfo(values.dtype).eps * values[:1].sum()
            right = u @ (torch.where(kept, values.reciprocal(), 0.0)[:, None] * (vh @ weighted[:n, n:]))
            factor = torch.cat([factor[:, :n], right], dim=1)
        l2 = self.l2 if self.name == "ridge" else 0.0
        if self.name == "pinv" and self.atol is not None:
            rtol = 0.0
        return from_triangle(factor, m, c, l2, target, atol=self.atol or 0.0, rtol=rtol)


def check(x: Tensor, where: str) -> None:
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"{where}: NaN or infinity; smaller alpha, beta or a larger l2 keep values small, and "
                         "float64 holds more")  # fmt: skip

"""Widths that are found while fitting."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from effdl_fast.ops._arguments import integer, number


@dataclass(frozen=True)
class Grow:
    """In `hidden`, in place of a width: grow the layer until the least squares distance of its output stops falling.

    Layers of `start`, `factor` times that, ... units are fitted, up to `most`; the last one is kept that lowered the
    distance (on the training samples) by more than the share `tol` of what it was.
    """

    start: int = 16
    factor: float = 2.0
    most: int = 1024
    tol: float = 0.05

    def check(self, op: str) -> Grow:
        """Raises TypeError, ValueError for what cannot be."""
        integer(op, "start of Grow", self.start, 1, 1 << 20)
        integer(op, "most of Grow", self.most, self.start, 1 << 20)
        if not number(op, "factor of Grow", self.factor) > 1.0:
            raise ValueError(f"{op}: factor of Grow must be above 1, got {self.factor}")
        if not 0.0 <= number(op, "tol of Grow", self.tol) < 1.0:
            raise ValueError(f"{op}: tol of Grow must be at least 0 and below 1, got {self.tol}")
        return self

    def widths(self) -> Iterator[int]:
        width = self.start
        while True:
            yield width
            if width >= self.most:
                return
            width = min(self.most, max(width + 1, math.ceil(width * self.factor)))

    def pays(self, distance: float, before: float) -> bool:
        return distance < (1.0 - self.tol) * before

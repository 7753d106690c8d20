"""What is noted of each representation while a network is fitted."""

from __future__ import annotations

from typing import NamedTuple


class LayerRecord(NamedTuple):
    """How a representation relates to the targets; the first of a history is that of the input."""

    width: int  # columns, without the bias
    lsd: float  # least squares distance: mean over samples of the squared error, summed over the columns of Y;
    # of the last one, where it is float32 and ill-conditioned, what its rounded weights leave
    condition: float  # of the moments, an estimate; of those scaled to a unit diagonal where they are what is solved
    route: str  # how its least squares problem was solved: moments, triangle, pinv, lstsq
    l2: float  # the ridge that was used; 0 of pinv and lstsq
    accuracy: float | None  # share of training samples that its best linear map classifies; where tracked

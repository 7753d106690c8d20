"""How far a float result may be from the truth, without a number chosen by hand.

The truth is the reference in float64 on the same (exactly widened) inputs. Plain PyTorch, in the dtype under test, has
some error against it; a compiled op may have at most twice that, because another order of operations is a different
draw of the same roundings. The floor of one ulp is there because a short computation can hit the truth by luck, and
nobody can ask for that luck twice.

Errors are measured relative to an element's magnitude, so that small elements are tested as sharply as large ones.
The magnitude is not the result itself where terms cancel (y - t with y near t): the caller says how large the terms
were. Float64 has no wider truth here: two float64 computations may differ by the roundings of both.
"""

import math

import torch
from torch import Tensor

ULPS_FLOAT64 = 32  # a sum over C <= 4096 rounds about log2(C) times in pairwise order, on both sides, and then once


def ulp(magnitude: Tensor, dtype: torch.dtype) -> Tensor:
    """The unit in the last place of `dtype` at each |magnitude| (float64), subnormals included."""
    info = torch.finfo(dtype)
    exponent = torch.frexp(magnitude.double().abs().clamp(min=info.smallest_normal)).exponent - 1
    return torch.ldexp(torch.full_like(magnitude, info.eps, dtype=torch.float64), exponent)


def assert_as_accurate(
    ours: Tensor,
    reference: Tensor,
    truth: Tensor,
    magnitude: Tensor | None = None,
    what: str = "result",
    floor: float = 1.0,
) -> None:
    """Raises AssertionError unless `ours` is within twice the error of `reference` (or `floor` ulp) of `truth`.

    ours, reference: same shape and dtype. truth: float64. magnitude: float64, how large the terms of each element were;
    default |truth|. floor: more than 1 only with a reason, such as a second rounding. Infinities and NaN must stand at
    the same places in ours and reference.
    """
    if ours.dtype != reference.dtype or ours.shape != reference.shape:
        raise AssertionError(
            f"{what}: {ours.dtype} {tuple(ours.shape)}, expected {reference.dtype} {tuple(reference.shape)}"
        )
    a, r, truth = ours.detach().double(), reference.detach().double(), truth.detach()
    finite = r.isfinite()
    if not torch.equal(a.isnan(), r.isnan()) or not torch.equal(a[a.isinf()], r[r.isinf()]):
        raise AssertionError(f"{what}: infinities or NaN at other places than in the reference")
    if not finite.any():
        return
    size = (truth.abs() if magnitude is None else torch.maximum(magnitude.detach(), truth.abs()))[finite]
    one_ulp = ulp(size, ours.dtype)
    error = (a - truth)[finite].abs() / one_ulp
    plain = float(((r - truth)[finite].abs() / one_ulp).max())
    allowed = float(ULPS_FLOAT64) if ours.dtype == torch.float64 else max(floor, 2.0 * plain)
    worst = float(error.max())
    if math.isnan(worst) or worst > allowed:
        raise AssertionError(f"{what}: off by {worst:.3g} ulp, allowed {allowed:.3g} ({ours.dtype})")

"""The vector types of each SIMD level, seen through the op: exp to 2 ulp, 16-bit conversions exactly."""

import numpy as np
import pytest
import torch

from effdl_fast.ops import exp_ga_loss, linear_ga_loss
from effdl_fast.testing.backends import cpu_backends, forced

LEVELS = [b for b in cpu_backends() if b.simd]
HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(params=LEVELS, ids=str)
def level(request):
    return request.param


def vector_exp(x):
    """exp of every element by the kernel: the gradient of the loss with all targets 0."""
    leaf = x.clone().view(1, -1).requires_grad_()
    loss = exp_ga_loss(leaf, torch.zeros(1, dtype=torch.int64), target_value=0.0, reduction="sum")
    (grad,) = torch.autograd.grad(loss, leaf)
    return grad.view(-1)


def ulp_error(ours, x):
    """In units of the last place of the exact result; below the normal range a unit is the smallest subnormal."""
    exact = torch.exp(x.double())
    exponent = torch.frexp(exact.clamp(min=2.0**-126)).exponent - 24
    return ((ours.double() - exact).abs() / torch.ldexp(torch.ones_like(exact), exponent)).max().item()


def every_float(first, last, step):
    """Bit patterns from first to last (both positive or both negative floats), by step, in chunks."""
    bits = np.array([first, last], dtype=np.float32).view(np.uint32).astype(np.int64)
    for start in range(int(bits[0]), int(bits[1]) + 1, step << 22):
        stop = min(start + (step << 22), int(bits[1]) + 1)
        yield torch.from_numpy(np.arange(start, stop, step, dtype=np.int64).astype(np.uint32).view(np.float32))


# Between +-2^-26 and 0 the result is 1 or its neighbour; the other 545 million floats of the range are what matters.
# Every one of them takes a while (-m slow); a prime step visits every binade and every pattern of low-order bits.
TINY = 2.0**-26


@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("first", "last"), [(TINY, 89.0), (-TINY, -104.0)])
def test_exp_is_within_two_ulp(level, first, last, step, request):
    if step == 1 and "slow" not in (request.config.getoption("-m") or ""):
        pytest.skip("every float: run with -m slow")
    worst = 0.0
    with forced(level, "exp_ga_loss"):
        for x in every_float(first, last, step):
            overflow = x >= 88.72284
            y = vector_exp(x)
            assert torch.isposinf(y[overflow]).all()
            if not overflow.all():
                worst = max(worst, ulp_error(y[~overflow], x[~overflow]))
    assert worst <= 2.0, f"{level}: {worst} ulp"


def test_exp_next_to_zero(level):
    with forced(level, "exp_ga_loss"):
        for x in [*every_float(0.0, TINY, 4001), *every_float(-0.0, -TINY, 4001)]:
            assert ulp_error(vector_exp(x), x) <= 1.0


def test_exp_of_every_float_in_the_last_binades(level):
    """Where results are largest and where they are subnormal: exhaustively."""
    with forced(level, "exp_ga_loss"):
        for x in [*every_float(88.0, 88.7228, 1), *every_float(-87.0, -89.0, 1), *every_float(-103.9, -104.0, 1)]:
            assert ulp_error(vector_exp(x), x) <= 2.0


def test_exp_of_special_values(level):
    x = torch.tensor([0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e30, -1e30, 1e-40, -200.0, 200.0] * 5)
    with forced(level, "exp_ga_loss"):
        torch.testing.assert_close(vector_exp(x), torch.exp(x), rtol=0, atol=0, equal_nan=True)


def all_values(dtype):
    return torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(dtype)


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_reading_every_16_bit_value(level, dtype):
    """As logits of linear_ga_loss with target 0 the gradient is the logit: read, widened, rounded back, written."""
    x = all_values(dtype)
    for shape in ((1, -1), (-1, 1), (1, 16, -1)):  # whole vectors, single lanes, planes
        logits = x.view(shape).clone().requires_grad_()
        target = torch.zeros((logits.shape[0], *logits.shape[2:]), dtype=torch.int64)
        with forced(level, "linear_ga_loss"):
            linear_ga_loss(logits, target, target_value=0.0, reduction="sum").backward()
        back = logits.grad.reshape(-1)
        nan = x.isnan()
        assert back[nan].isnan().all()
        assert torch.equal(back[~nan].view(torch.int16), x[~nan].view(torch.int16))


@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_rounding_to_every_16_bit_value(level, dtype):
    """The gradient x - t in float32 rounds to nearest even, at, just below and just above every midpoint.

    A neighbour of a midpoint that float32 can hold is reached as the difference of two 16-bit numbers or their product
    with a weight; here the float32 weight carries the value: gradient = weight * (x - t) with x - t = 1.
    """
    grid = all_values(dtype).float()
    grid = grid[grid.isfinite()].unique()
    middle = ((grid[1:].double() + grid[:-1].double()) / 2).float()
    wanted = torch.cat([grid, middle, torch.nextafter(middle, torch.tensor(torch.inf)),
                        torch.nextafter(middle, torch.tensor(-torch.inf)), torch.tensor([3e38, -3e38, 1e-45, 65519.996,
                        65520.0, 65536.0])])  # fmt: skip
    x = torch.ones(1, len(wanted), dtype=dtype, requires_grad=True)
    with forced(level, "linear_ga_loss"):
        loss = linear_ga_loss(x, torch.zeros(1, len(wanted), dtype=dtype), weight=wanted, reduction="sum")
        loss.backward()
    assert torch.equal(x.grad[0], wanted.to(dtype))


def test_levels_give_the_same_bits_through_16_bit_types():
    results = []
    x = torch.randn(33, 67, generator=torch.Generator().manual_seed(0)).bfloat16()
    for level in LEVELS:
        leaf = x.clone().requires_grad_()
        with forced(level, "linear_ga_loss"):
            linear_ga_loss(leaf, torch.arange(33), reduction="sum").backward()
        results.append(leaf.grad)
    assert all(torch.equal(r, results[0]) for r in results)

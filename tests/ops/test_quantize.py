"""quantize on every backend: the codes of docs/format.md to the bit, and what they are good for."""

import math

import pytest
import torch

from effdl_fast import _C
from effdl_fast.ops import dequantize_ref, quantize, quantize_ref
from effdl_fast.testing.backends import forced, simd

from ._weights import *  # noqa: F403
from ._weights import ReadsWeights, assert_same, integers

OP = "quantize"


class TestWeights(ReadsWeights):
    arguments = (8,)


# ---- small domains, all of them ----


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_all_half_precision_values(op, backend, half):
    """All 65,536 bit patterns: the finite ones are quantized, every other one raises."""
    if half not in backend.dtypes:
        pytest.skip("this backend has no 16-bit kernels")
    every = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(half)
    finite = every[every.isfinite()].to(backend.device)
    ranges = [(None, None), (-1.0, 1.0), (0.0, 6e-8), (-65504.0, 0.0), (0.1, 0.1)]
    for bits in (1, 8, 9, 16):
        for lo, hi in ranges:
            with simd(backend.simd):
                q = op.run(finite, bits, lo, hi)
            assert_same(q, op.ref(finite, bits, lo, hi), f"{bits} {lo} {hi}")
    if backend.device.type == "cpu":
        for bad in every[~every.isfinite()][:: 37 if half is torch.float16 else 7]:
            with pytest.raises(ValueError, match="quantize: x must be finite"):
                op.run(bad.reshape(1), 8, -1.0, 1.0)


@pytest.mark.parametrize("bits", range(1, 17))
def test_codes_cover_the_range_in_order(op, backend, dtype, bits):
    """lo is code 0, hi the last one, larger elements never have smaller codes, and half a step bounds the error."""
    x = torch.linspace(-3, 5, 10_001, dtype=torch.float64).to(dtype).to(backend.device)
    with forced(backend, op.name):
        q = op.run(x, bits)
    codes = q.codes.to(torch.int32)
    assert codes[0] == 0 and codes[-1] == 2**bits - 1
    assert bool((codes[1:] >= codes[:-1]).all())
    step = (float(q.hi) - float(q.lo)) / 2**bits
    error = (dequantize_ref(q, torch.float64) - x.double()).abs().max()
    # Three roundings of numbers up to 8: (x - lo), its product with 2^bits / 8, and the value.
    assert error <= step / 2 + 3 * 8 * torch.finfo(q.lo.dtype).eps


# ---- the range ----


def test_range_is_that_of_the_elements(op, backend, dtype):
    for n in (1, 2, 15, 16, 17, 1000, 300_000):
        x = torch.randn(n, generator=torch.Generator().manual_seed(n)).to(dtype).to(backend.device)
        with forced(backend, op.name):
            q = op.run(x, 8)
        wide = torch.float64 if dtype is torch.float64 else torch.float32
        assert (q.lo.dtype, q.hi.dtype, q.lo.shape) == (wide, wide, ())
        assert q.lo == x.min().to(wide) and q.hi == x.max().to(wide)


def test_extremes_are_found_wherever_they_stand(op, backend, dtype):
    for n in (5, 67, 131):
        for place in range(n):
            x = torch.zeros(n, device=backend.device, dtype=dtype)
            x[place], x[place - 1] = 2.0, -3.0
            q = op.run(x, 4)
            assert (float(q.lo), float(q.hi)) == (-3.0, 2.0)
            assert int(q.codes[place]) == 15 and int(q.codes[place - 1]) == 0


def test_minus_zero_is_written_as_zero(op, backend, dtype):
    zero = torch.zeros((), dtype=dtype)
    for x, lo, hi in (([-0.0], None, None), ([-0.0, 1.0], None, None), ([-1.0, -0.0], None, None),
                      ([1.0, 2.0], -0.0, None), ([1.0], -0.0, torch.tensor(2.0)), ([-1.0], None, -zero)):  # fmt: skip
        q = op.run(torch.tensor(x, dtype=dtype, device=backend.device), 3, lo, hi)
        for bound in (q.lo, q.hi):
            assert not (bound == 0 and bool(torch.signbit(bound)))


def test_constant_and_empty(op, backend, dtype):
    for value in (0.0, -2.5, torch.finfo(dtype).max, torch.finfo(dtype).smallest_normal):
        q = op.run(torch.full((300,), value, dtype=dtype, device=backend.device), 8)
        assert not q.codes.any()
        assert float(q.lo) == float(q.hi) == value
        assert bool((dequantize_ref(q, dtype) == value).all())
    q = op.run(torch.empty(3, 0, dtype=dtype, device=backend.device), 12)
    assert q.codes.shape == (3, 0) and q.codes.dtype is torch.uint16
    assert float(q.lo) == float(q.hi) == 0


WIDE = [
    (-3e38, 3e38, "the difference overflows"),
    (-torch.finfo(torch.float32).max, torch.finfo(torch.float32).max, "all of float32"),
    (0.0, 2.0**-125, "the step is subnormal for more than one bit"),
    (-(2.0**-149), 2.0**-149, "two steps above the smallest subnormal"),
    (1.0, 1.0 + 2.0**-23, "neighbours, still wide enough"),
    (2.0**-126, 2.0**-126 + 2.0**-149, "neighbours, too close"),
]


@pytest.mark.parametrize(("lo", "hi", "what"), WIDE, ids=[w[2] for w in WIDE])
@pytest.mark.parametrize("bits", [1, 2, 8, 16])
def test_ranges_that_float32_cannot_divide(op, backend, lo, hi, what, bits):
    if torch.float32 not in backend.dtypes:
        pytest.skip("float32 only")
    t = torch.linspace(0, 1, 2003, dtype=torch.float64)
    x = (lo * (1 - t) + hi * t).float().to(backend.device)
    x[0], x[-1] = lo, hi
    span = torch.tensor(hi) - torch.tensor(lo)
    wide = not span.isfinite() or float(span) / 2**bits < torch.finfo(torch.float32).smallest_normal
    with simd(backend.simd):
        q = op.run(x, bits)
        if backend.device.type == "cpu":
            assert _C.last_kernel() == ("quantize.f64" if wide else f"quantize.{backend.kernel}")
    assert_same(q, op.ref(x, bits))
    codes = q.codes.to(torch.int64)
    assert codes[0] == 0 and codes[-1] == 2**bits - 1
    if wide:  # float64 is exact enough to say what must come out
        lo, hi = float(q.lo), float(q.hi)
        exact = ((x.double() - lo) * (2**bits / (hi - lo))).floor().clamp(max=2**bits - 1)
        assert torch.equal(codes.double(), exact)


def test_float64_ranges_that_cannot_be_divided(op):
    for x, bits in (([-1.7e308, 1.7e308], 8), ([0.0, 5e-324], 1), ([0.0, 2.0**-1020], 8)):
        for function in (op.run, op.ref):
            with pytest.raises(ValueError, match="quantize: "):
                function(torch.tensor(x, dtype=torch.float64), bits)
    assert op.run(torch.tensor([0.0, 2.0**-1020], dtype=torch.float64), 2).codes.tolist() == [0, 3]


def test_elements_beyond_a_given_range(op, backend, dtype):
    top = torch.finfo(dtype).max
    x = torch.tensor([-top, -2.0, -1.0, 0.999, 1.0, 5.0, top] * 9, dtype=dtype, device=backend.device)
    for lo, hi, codes in ((-1.0, 1.0, [0, 0, 0, 15, 15, 15, 15]), (0.5, 0.5, [0] * 7)):
        with forced(backend, op.name):
            q = op.run(x, 4, lo, hi)
        assert q.codes.tolist() == codes * 9
        assert_same(q, op.ref(x, 4, lo, hi))


def test_range_as_tensors(op, backend):
    x = torch.randn(99, device=backend.device, dtype=backend.dtypes[0])
    wanted = op.run(x, 6, -0.5, 0.75)
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        lo = torch.tensor(-0.5, dtype=dtype, device=backend.device, requires_grad=True)
        with forced(backend, op.name):
            q = op.run(x, 6, lo, torch.tensor(0.75, dtype=dtype))
        assert_same(q, wanted)
        assert not q.lo.requires_grad


# ---- errors ----


def test_bits(op):
    integers(op, "bits", lambda bits: op.run(torch.zeros(3), bits), 1, 16)


def test_range_errors(op):
    x = torch.tensor([-1.0, 1.0])
    for function in (op.run, op.ref):
        for bad in (math.nan, math.inf, -math.inf):
            for name in ("lo", "hi"):
                with pytest.raises(ValueError, match=f"quantize: {name} must be finite, got {bad}"):
                    function(x, 8, **{name: bad})
                with pytest.raises(ValueError, match=f"quantize: {name} must be finite, got {bad}"):
                    function(x, 8, **{name: torch.tensor(bad)})
        with pytest.raises(ValueError, match=r"quantize: hi must be finite, got inf"):
            function(x, 8, hi=1e300)  # beyond float32
        with pytest.raises(ValueError, match=r"quantize: lo must not exceed hi, got 2\.0 and 1\.0"):
            function(x, 8, 2.0)
        with pytest.raises(ValueError, match=r"quantize: lo must not exceed hi, got -1\.0 and -3\.0"):
            function(x, 8, None, -3.0)
        with pytest.raises(ValueError, match=r"quantize: lo must be a number or a 0-d tensor, got shape \(1,\)"):
            function(x, 8, torch.zeros(1))
        with pytest.raises(TypeError, match="quantize: hi must be float32, float64, float16 or bfloat16, got int64"):
            function(x, 8, hi=torch.tensor(1))
        with pytest.raises(TypeError, match="quantize: lo must be a number, got 'x'"):
            function(x, 8, "x")


def test_unknown_range_on_another_device(op):
    with pytest.raises(ValueError, match="quantize: lo must be on the CPU or on the device of x, cpu, got meta"):
        op.run(torch.zeros(2), 8, torch.zeros((), device="meta"))


def test_named_tuple():
    q = quantize(torch.tensor([0.0, 1.0]), 8)
    assert q._fields == ("codes", "lo", "hi", "bits") and q.bits == 8
    assert_same(q, quantize_ref(torch.tensor([0.0, 1.0]), 8))

"""dequantize on every backend."""

import pytest
import torch

from effdl_fast.ops import Quantized, quantize_ref
from effdl_fast.testing.backends import forced, simd

from ._weights import *  # noqa: F403
from ._weights import assert_same

OP = "dequantize"
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def quantized(bits=8, device="cpu", dtype=torch.float32, n=1003):
    x = torch.randn(n, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    return quantize_ref(x.to(device), bits)


@pytest.mark.parametrize("source", [torch.float32, torch.float64])
def test_every_output_dtype(op, backend, source):
    for bits in (1, 8, 9, 16):
        q = quantized(bits, backend.device, source)
        for dtype in FLOATS:
            with simd(backend.simd):
                assert_same(op.run(q, dtype), op.ref(q, dtype), f"{bits} bits to {dtype}")


def test_every_code(op, backend, dtype):
    """All codes of 8 and of 16 bits, against a formula that float64 evaluates nearly exactly."""
    for bits in (8, 16):
        codes = torch.arange(1 << bits, dtype=torch.int32).to(torch.uint8 if bits == 8 else torch.uint16)
        wide = torch.float64 if dtype is torch.float64 else torch.float32
        lo, hi = (torch.tensor(v, dtype=wide, device=backend.device) for v in (-0.3, 1.7))
        with forced(backend, op.name):
            values = op.run(Quantized(codes.to(backend.device), lo, hi, bits), dtype)
        step = (hi.double() - lo.double()) / 2**bits
        every = torch.arange(1 << bits, dtype=torch.float64, device=backend.device)
        exact = lo.double() + (every + 0.5) * step
        # Roundings of hi - lo, of the product and of the sum, all up to 2, on either side; then to the dtype.
        bound = 6 * torch.finfo(wide).eps + exact.abs() * torch.finfo(dtype).eps / 2
        assert bool(((values.double() - exact).abs() <= bound).all())
        assert bool((values[1:] >= values[:-1]).all())


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_16_bit_outputs_are_rounded_to_nearest_even(op, backend, half):
    """Steps that make every second value a tie between two neighbours, and every finite exponent."""
    if half not in backend.dtypes:
        pytest.skip("this backend has no 16-bit kernels")
    codes = torch.arange(65536, dtype=torch.int32).to(torch.uint16).to(backend.device)
    for hi in (2.0**-8, 1.0, 65504.0, 1e5):
        lo, hi = (torch.tensor(v, device=backend.device) for v in (-hi, hi))
        q = Quantized(codes, lo, hi, 16)
        with forced(backend, op.name):
            values = op.run(q, half)
        assert_same(values, op.ref(q, torch.float32).to(half))


def test_wide_ranges(op, backend):
    for lo, hi, bits in ((-3e38, 3e38, 8), (0.0, 2.0**-140, 4), (-3.4e38, 3.4e38, 16), (2.0**-149, 2.0**-148, 1)):
        codes = torch.arange(1 << bits, dtype=torch.int32).to(torch.uint8 if bits <= 8 else torch.uint16)
        q = Quantized(codes.to(backend.device), *torch.tensor([lo, hi], device=backend.device).unbind(), bits)
        for dtype in FLOATS:
            with simd(backend.simd):
                assert_same(op.run(q, dtype), op.ref(q, dtype), f"{lo} {hi} {dtype}")
        lo, hi = float(q.lo), float(q.hi)
        exact = lo + (torch.arange(1 << bits, dtype=torch.float64) + 0.5) * ((hi - lo) / 2**bits)
        assert torch.equal(op.run(q, torch.float64).cpu(), exact)


def test_constant(op, backend, dtype):
    lo = torch.tensor(-2.5, device=backend.device, dtype=torch.float64 if dtype is torch.float64 else torch.float32)
    codes = torch.tensor([0, 3, 255], dtype=torch.uint8, device=backend.device)
    with forced(backend, op.name):
        assert op.run(Quantized(codes, lo, lo, 8), dtype).tolist() == [-2.5] * 3


def test_default_dtype_is_float32(op):
    assert op.run(quantized()).dtype is torch.float32
    assert op.run(quantized(dtype=torch.float64)).dtype is torch.float32


def test_range_that_requires_grad_is_a_constant(op, backend):
    q = quantized(device=backend.device)
    result = op.run(q._replace(lo=q.lo.clone().requires_grad_(), hi=torch.nn.Parameter(q.hi)))
    assert not result.requires_grad
    assert_same(result, op.run(q))


# ---- errors ----


def test_what_is_no_quantized(op):
    q = quantized()
    for bad in (q.codes, tuple(q), None):
        with pytest.raises(TypeError, match="dequantize: q must be a Quantized, as quantize returns it, got"):
            op.run(bad)
    for name in ("codes", "lo", "hi"):
        with pytest.raises(TypeError, match=rf"dequantize: q\.{name} must be a torch\.Tensor, got float"):
            op.run(q._replace(**{name: 1.0}))


def test_errors(op):
    q = quantized()
    for function in (op.run, op.ref):
        with pytest.raises(ValueError, match=r"dequantize: q\.bits must be from 1 to 16, got 17"):
            function(q._replace(bits=17))
        with pytest.raises(TypeError, match=r"dequantize: q\.bits must be an integer, got float"):
            function(q._replace(bits=8.0))
        with pytest.raises(TypeError, match=r"dequantize: q\.codes must be uint16 for 9 bits, got uint8"):
            function(q._replace(bits=9))
        with pytest.raises(TypeError, match=r"dequantize: q\.codes must be uint8 for 8 bits, got int64"):
            function(q._replace(codes=q.codes.long()))
        with pytest.raises(TypeError, match=r"dequantize: q\.lo and q\.hi must both be float32 or both float64, got"):
            function(q._replace(lo=q.lo.double()))
        with pytest.raises(TypeError, match=r"q\.lo and q\.hi must both be .*, got float16 and float16"):
            function(q._replace(lo=q.lo.half(), hi=q.hi.half()))
        with pytest.raises(ValueError, match=r"dequantize: q\.lo and q\.hi must be 0-d, got shapes \(1,\) and \(\)"):
            function(q._replace(lo=q.lo[None]))
        with pytest.raises(ValueError, match=r"dequantize: q\.hi must be on the device of q\.codes, cpu, got meta"):
            function(q._replace(hi=q.hi.to("meta")))
        for dtype in (torch.int32, None, "float32"):
            with pytest.raises(TypeError, match="dequantize: dtype must be float32, float64, float16 or bfloat16, got"):
                function(q, dtype)


@pytest.mark.parametrize(("lo", "hi"), [(float("nan"), 1.0), (0.0, float("inf")), (-float("inf"), 0.0), (1.0, 0.0)])
def test_ranges_without_meaning(op, lo, hi):
    q = quantized()._replace(lo=torch.tensor(lo), hi=torch.tensor(hi))
    for function in (op.run, op.ref):
        with pytest.raises(ValueError, match="dequantize: "):
            function(q)


def test_float64_range_that_cannot_be_divided(op):
    q = quantized()._replace(
        lo=torch.tensor(-1.5e308, dtype=torch.float64), hi=torch.tensor(1.5e308, dtype=torch.float64)
    )
    for function in (op.run, op.ref):
        with pytest.raises(ValueError, match="dequantize: "):
            function(q)

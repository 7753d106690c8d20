"""entropy on every backend. The estimate is a float64 sum whose order differs; the elements it looks at do not."""

import math
from collections import Counter

import pytest
import torch

from effdl_fast.ops import quantize_ref
from effdl_fast.ops._weights_ref import sampled
from effdl_fast.testing.backends import forced, simd

from ._weights import *  # noqa: F403
from ._weights import ENTROPY_ATOL, ReadsWeights, integers

OP = "entropy"


class TestWeights(ReadsWeights):
    arguments = (4, 1.0)


def by_hand(x, bits):
    counts = Counter(quantize_ref(x, bits).codes.reshape(-1).tolist()).values()
    return sum(c / x.numel() * math.log2(x.numel() / c) for c in counts)


@pytest.mark.parametrize("bits", [1, 4, 8, 12])
def test_of_all_elements(op, backend, dtype, bits):
    for n in (2, 31, 1000, 40_000):
        x = torch.randn(n, generator=torch.Generator().manual_seed(n)).to(dtype)
        with forced(backend, op.name):
            h = op.run(x.to(backend.device), bits, 1.0)
        assert (h.dtype, h.shape) == (torch.float64, ())
        assert abs(float(h) - by_hand(x, bits)) < ENTROPY_ATOL


def test_known_values(op, backend):
    dtype = backend.dtypes[0]
    for n in (16, 1600, 160_000):
        uniform = torch.arange(n, dtype=torch.float64).remainder(16).to(dtype).to(backend.device)
        assert float(op.run(uniform, 4, 1.0)) == 4.0
        half = torch.arange(n).remainder(2).to(dtype).to(backend.device)
        assert float(op.run(half, 4, 1.0)) == 1.0
        constant = torch.ones(n, dtype=dtype, device=backend.device)
        assert float(op.run(constant, 4)) == 0.0 and math.copysign(1, float(op.run(constant))) == 1
    assert float(op.run(torch.empty(0, dtype=dtype, device=backend.device))) == 0.0


def starts(n, sample, seed):
    """First elements of the runs, in Python's integers, from the text of docs/format.md; None: all elements."""
    m = min(n, max(math.ceil(sample * n), 1024))
    r = -(-m // 16)
    if m == n or n < 32 or 16 * r > n:
        return None
    found, mask = [], 2**64 - 1
    for j in range(r):
        z = (seed + (j + 1) * 0x9E3779B97F4A7C15) & mask
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & mask
        h = (z ^ z >> 31) >> 1
        begin, end = j * n // r, (j + 1) * n // r
        found.append(begin + h % (end - begin - 15))
    return found


SAMPLES = [(1023, 0.03), (1024, 0.5), (1025, 0.03), (1039, 0.03), (1040, 1e-9), (5000, 0.03), (100_000, 0.03),
           (100_003, 0.5), (100_003, 0.999), (40_000, 0.9999), (17, 0.03)]  # fmt: skip


@pytest.mark.parametrize(("n", "sample"), SAMPLES)
def test_which_elements_are_looked_at(n, sample):
    for seed in (0, 1, 12345, 2**63 - 1):
        found = starts(n, sample, seed)
        expected = list(range(n)) if found is None else [s + i for s in found for i in range(16)]
        assert sampled(torch.arange(n), sample, seed).tolist() == expected
        assert len(set(expected)) == len(expected) and max(expected) < n


@pytest.mark.parametrize(("n", "sample"), SAMPLES)
def test_samples(op, backend, n, sample):
    """Other elements would give another entropy: every element here has its own neighbourhood."""
    x = (torch.arange(n, dtype=torch.float64) * 0.37).sin() * torch.linspace(0, 1, n, dtype=torch.float64)
    x = x.to(backend.dtypes[0]).to(backend.device)
    seen, chosen = set(), set()
    for seed in range(3):
        with forced(backend, op.name):
            h = op.run(x, 12, sample, torch.Generator().manual_seed(seed))
        wanted = op.ref(x, 12, sample, torch.Generator().manual_seed(seed))
        assert abs(float(h) - float(wanted)) < ENTROPY_ATOL
        seen.add(round(float(h), 9))
        drawn = int(torch.randint(2**63 - 1, (), generator=torch.Generator().manual_seed(seed)))
        chosen.add(tuple(starts(n, sample, drawn) or ()))
    assert len(seen) == len(chosen) or n < 1100  # samples of nearly everything may have equal histograms


def test_estimate_is_near_the_entropy(op, backend):
    """3% of a Gaussian: the estimate of the thesis's settings is good for choosing a number of bits."""
    x = torch.randn(300_000, generator=torch.Generator().manual_seed(3)).to(backend.dtypes[0]).to(backend.device)
    whole = float(op.run(x, 4, 1.0))
    for seed in range(5):
        assert abs(float(op.run(x, 4, 0.03, torch.Generator().manual_seed(seed))) - whole) < 0.05


def test_random_numbers(op):
    """One draw, unless nothing is left to chance; the default generator is torch's."""
    x = torch.randn(50_000)
    state = torch.get_rng_state()
    op.run(x, 4, 1.0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(7)
    first = op.run(x, 12)
    assert op.run(x, 12) != first
    assert op.run(x, 12, 0.03, torch.Generator().manual_seed(7)) == first
    torch.manual_seed(7)
    assert op.run(x, 12) == first
    generator = torch.Generator().manual_seed(7)
    state = torch.get_rng_state()
    assert op.run(x, 12, generator=generator) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_wide_ranges(op, backend):
    if torch.float32 not in backend.dtypes:
        pytest.skip("float32 only")
    for scale in (3.4e38, 2.0**-149):
        x = torch.linspace(-1, 1, 1009, dtype=torch.float64).mul(scale).float().to(backend.device)
        with simd(backend.simd):
            assert abs(float(op.run(x, 8, 1.0)) - float(op.ref(x, 8, 1.0))) < ENTROPY_ATOL


def test_float64_range_that_cannot_be_divided(op):
    x = torch.tensor([-1.7e308, 1.7e308], dtype=torch.float64)
    for function in (op.run, op.ref):
        with pytest.raises(ValueError, match="entropy: the range"):
            function(x)


def test_cuda_values_are_not_looked_at(op, backend):
    if backend.device.type != "cuda":
        pytest.skip("CUDA only")
    assert math.isnan(float(op.run(torch.tensor([1.0, math.nan], device=backend.device))))


def test_compile_with_a_drawn_seed(op):
    x = torch.randn(50_000)
    torch._dynamo.reset()
    compiled = torch.compile(lambda x: op.run(x, 12), fullgraph=True, backend="aot_eager")
    assert 0 < float(compiled(x)) < 12
    assert compiled(x) != compiled(x)


def test_errors(op):
    x = torch.zeros(3)
    integers(op, "bits", lambda bits: op.run(x, bits), 1, 16)
    for function in (op.run, op.ref):
        for sample in (0.0, -0.5, 1.01):
            with pytest.raises(ValueError, match=f"entropy: sample must be above 0 and at most 1, got {sample}"):
                function(x, 4, sample)
        for sample in (math.nan, math.inf):
            with pytest.raises(ValueError, match="entropy: sample must be finite"):
                function(x, 4, sample)
        for sample in ("1", None, torch.tensor(0.5)):
            with pytest.raises(TypeError, match="entropy: sample must be a number, got"):
                function(x, 4, sample)
        with pytest.raises(TypeError, match=r"entropy: generator must be a torch.Generator, got int"):
            function(x, 4, 0.5, 3)

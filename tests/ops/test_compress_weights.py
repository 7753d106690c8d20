"""compress_weights on every backend: records equal to the reference's, and what Algorithm 1 asks of them."""

import io
import math
import pickle

import pytest
import torch

from effdl_fast.ops import dequantize_ref, entropy, quantize_ref
from effdl_fast.ops._weights_lanes import lane_total
from effdl_fast.ops.decompress_weights import decompress_weights, decompress_weights_ref
from effdl_fast.testing.backends import forced

from ._records import header
from ._weights import *  # noqa: F403
from ._weights import ReadsWeights, assert_same, integers, only_once

OP = "compress_weights"
RAW, CONSTANT, FIXED, RANS = "raw", "constant", "fixed", "rans"


class TestWeights(ReadsWeights):
    pass


def gaussian(n, backend, seed=0):
    x = torch.randn(n, generator=torch.Generator().manual_seed(seed)) * 0.05
    return x.to(backend.dtypes[0]).to(backend.device)


# ---- the record ----


def test_header(op, backend, dtype):
    x = gaussian(5000, backend).to(dtype)
    for codec, chunk in (("huffman", 15), ("rans", 15), ("fixed", 0)):
        with forced(backend, op.name):
            record = op.run(x, codec=codec, bits=8)
        h = header(record)
        assert (h["magic"], h["version"], h["zero"], h["chunk"]) == (b"EFWR", 1, 0, chunk)
        assert (h["codec"], h["dtype"], h["bits"], h["n"]) == (codec, dtype, 8, 5000)
        assert (h["lo"], h["hi"]) == (float(x.min()), float(x.max()))
        assert record.numel() == 48 + h["codebook"] + (4 if chunk else 0) + h["payload"]
        assert (record.dtype, record.dim(), record.device) == (torch.uint8, 1, x.device)


def test_number_of_bits_is_that_of_algorithm_1(op, backend):
    """N = ceil(H + floor), H being what `entropy` says."""
    for kind in range(4):
        x = gaussian(60_000, backend, kind) ** (2 * kind + 1)
        for entropy_bits, floor in ((4, 6), (4, 5), (8, 2.25), (1, 0), (2, 20)):
            h = float(entropy(x, entropy_bits, 1.0))
            record = op.run(x, floor=floor, entropy_bits=entropy_bits, sample=1.0)
            assert header(record)["bits"] == min(max(math.ceil(h + floor), 1), 16)


def test_an_integer_entropy_is_not_rounded_up(op, backend):
    x = torch.arange(4096, dtype=torch.float64).remainder(16).to(backend.dtypes[0]).to(backend.device)
    assert header(op.run(x, codec="fixed"))["bits"] == 10


def test_seed_and_sample_choose_the_elements(op, backend):
    """With a floor that puts the entropy next to an integer, the sample decides about N."""
    x = gaussian(50_000, backend) * torch.linspace(0, 1, 50_000).to(backend.device, backend.dtypes[0]) ** 8
    floor = math.ceil(float(entropy(x, sample=1.0))) - float(entropy(x, sample=1.0)) + 4
    seeds = (*range(9), 2**63 - 1)
    for seed in seeds[-3:]:
        assert_same(op.run(x, floor=floor, seed=seed), op.ref(x, floor=floor, seed=seed))
    assert len({header(op.run(x, floor=floor, seed=s))["bits"] for s in seeds}) > 1
    assert len({header(op.run(x, floor=floor, seed=s, sample=1.0))["bits"] for s in seeds}) == 1


def test_range_of_values(op, backend, dtype):
    """Half a step, plus rounding to the dtype, bounds what is lost."""
    x = (torch.randn(40_000, generator=torch.Generator().manual_seed(0)) * 0.05).to(dtype).to(backend.device)
    for codec in ("huffman", "rans", "fixed"):
        record = op.run(x, codec=codec)
        h = header(record)
        error = (decompress_weights(record).double() - x.double()).abs().max()
        step = (h["hi"] - h["lo"]) / 2 ** h["bits"]
        assert error <= step / 2 + 4 * max(h["hi"], -h["lo"]) * torch.finfo(dtype).eps
        assert_same(decompress_weights(record), dequantize_ref(quantize_ref(x, h["bits"]), dtype))


def test_result_is_no_view_of_a_larger_buffer(op, backend):
    for n in (5, 5000, 500_000):
        record = op.run(gaussian(n, backend))
        assert record.untyped_storage().nbytes() == record.numel()


def test_large_result_is_no_view_of_a_larger_buffer(op, backend):
    """Beyond 32 MiB nothing is copied, but neither kept nor saved with the result."""
    only_once(op, backend)
    n = 9_000_000 * 4 // backend.dtypes[0].itemsize
    x = torch.arange(n, dtype=torch.int64, device=backend.device).remainder(3).to(backend.dtypes[0])
    record = op.run(x, bits=2, codec="fixed")
    assert record.numel() == 48 + n // 4 == record.untyped_storage().nbytes()
    file = io.BytesIO()
    torch.save(record, file)
    assert len(file.getvalue()) < record.numel() + 10_000
    assert_same(pickle.loads(pickle.dumps(record)), record)
    assert_same(decompress_weights(record)[-9:], dequantize_ref(quantize_ref(x[-9:], 2), x.dtype))


# ---- what is stored how ----


def test_thesis_settings_are_nine_times_smaller(op, backend):
    """sec. 3.8: c = 5 and M = 4 reach 9x on trained networks, whose weights are peaked; as Laplace weights are."""
    g = torch.Generator().manual_seed(0)
    x = torch.empty(300_000).exponential_(generator=g) * torch.randn(300_000, generator=g).sign()
    x = x.to(backend.dtypes[0]).to(backend.device)
    if x.dtype is torch.float32:
        assert 32 * x.numel() / (8 * op.run(x, floor=5).numel()) > 5


@pytest.mark.parametrize("n", [1, 2, 5, 20, 30, 60, 100, 300, 1000, 5000])
def test_never_much_larger_than_the_weights(op, backend, dtype, n):
    x = gaussian(n, backend).to(dtype)
    for codec in ("auto", "huffman", "rans", "fixed", "raw"):
        for bits in (None, 1, 16):
            size = op.run(x, codec=codec, bits=bits).numel()
            assert size <= 48 + n * dtype.itemsize + lane_total(n)


def test_auto_is_the_smallest(op, backend):
    """Within what the estimates are off by: a byte per lane."""
    for kind in range(5):
        x = gaussian(40_000, backend, kind) ** (2 * kind + 1)
        for bits in (None, 1, 2, 8):
            sizes = {c: op.run(x, codec=c, bits=bits).numel() for c in ("huffman", "rans", "fixed", "raw", "auto")}
            auto = sizes.pop("auto")
            assert auto <= min(sizes.values()) * 1.02 + lane_total(40_000)


def test_rans_where_entropy_is_far_below_a_bit(op, backend):
    g = torch.Generator().manual_seed(0)
    x = (torch.rand(100_000, generator=g) < 0.01).to(backend.dtypes[0]).to(backend.device)
    small, usual = op.run(x, bits=1, codec="auto"), op.run(x, bits=1)
    assert header(small)["codec"] == RANS
    assert small.numel() < 0.15 * usual.numel()


def test_codecs_that_would_not_pay(op, backend):
    uniform = torch.arange(4096, dtype=torch.float64).to(backend.dtypes[0]).to(backend.device)
    assert header(op.run(uniform, bits=4))["codec"] == FIXED  # 4 bits each anyway
    assert header(op.run(uniform, bits=4, codec="rans"))["codec"] == FIXED
    few = torch.tensor([0.0, 1.0, 2.0], dtype=backend.dtypes[0], device=backend.device)
    for codec in ("huffman", "rans", "fixed", "auto"):
        assert header(op.run(few, bits=16, codec=codec))["codec"] == FIXED if few.element_size() > 2 else RAW
    half = few.half() if few.element_size() > 2 else few
    if half.dtype in backend.dtypes:
        assert header(op.run(half, bits=16))["codec"] == RAW


def test_constant_tensors(op, backend, dtype):
    for value in (0.0, 1.0, -2.5, torch.finfo(dtype).max, torch.finfo(dtype).tiny):
        x = torch.full((3000,), value, dtype=dtype, device=backend.device)
        for codec in ("auto", "huffman", "rans", "fixed"):
            with forced(backend, op.name):
                record = op.run(x, codec=codec)
            assert header(record)["codec"] == CONSTANT and record.numel() == 48
            assert_same(decompress_weights(record), x)
    zeros = torch.tensor([0.0, -0.0] * 40, dtype=dtype, device=backend.device)
    record = op.run(zeros)
    assert header(record)["codec"] == CONSTANT
    assert_same(decompress_weights(record), zeros.abs())
    assert_same(decompress_weights(op.run(zeros, codec="raw")), zeros)


def test_raw_loses_nothing(op, backend, dtype):
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype).to(backend.device)
    record = op.run(x, codec="raw")
    h = header(record)
    assert (h["codec"], h["lo"], h["hi"], h["bits"]) == (RAW, 0.0, 0.0, 0)
    assert_same(record[48:].cpu().view(dtype), x.cpu())
    assert_same(decompress_weights(record), x)


def test_nonfinite_tensors_raw_on_request(op, backend, dtype):
    for bad in (math.nan, math.inf, -math.inf):
        x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).to(dtype)
        x[500] = bad
        x = x.to(backend.device)
        for codec in ("huffman", "raw"):
            with forced(backend, op.name):
                record = op.run(x, codec=codec, nonfinite="raw")
            assert header(record)["codec"] == RAW
            assert_same(decompress_weights(record), x)
            for function in (op.run, op.ref):
                with pytest.raises(ValueError, match="compress_weights: x must be finite"):
                    function(x, codec=codec)
    finite = gaussian(5000, backend).to(dtype)
    assert_same(op.run(finite, nonfinite="raw"), op.run(finite))


def test_empty(op, backend, dtype):
    for codec in ("auto", "huffman", "raw"):
        record = op.run(torch.empty(0, 3, dtype=dtype, device=backend.device), codec=codec)
        h = header(record)
        assert (h["codec"], h["n"], record.numel()) == (RAW, 0, 48)
        assert decompress_weights(record).dtype is dtype


def test_wide_float32_ranges(op, backend):
    if torch.float32 not in backend.dtypes:
        pytest.skip("float32 only")
    for scale in (3.4e38, 2.0**-140):
        x = (torch.randn(2000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 5).clamp(-1, 1)
        x = (x * scale).float().to(backend.device)
        for codec in ("huffman", "rans", "fixed"):
            record = op.run(x, codec=codec, bits=9)
            assert header(record)["codec"] != RAW
            assert_same(record, op.ref(x, codec=codec, bits=9))
            assert_same(decompress_weights(record), decompress_weights_ref(record))


def test_float64_ranges_that_cannot_be_divided_are_raw(op):
    for values in ([-1.7e308, 0.0, 1.7e308], [0.0, 5e-324]):
        x = torch.tensor(values * 50, dtype=torch.float64)
        for options in ({}, {"bits": 8}, {"codec": "auto"}):
            record = op.run(x, **options)
            assert header(record)["codec"] == RAW
            assert_same(record, op.ref(x, **options))


def test_shapes_are_forgotten(op, backend):
    x = gaussian(6000, backend).view(20, 300)
    assert_same(op.run(x), op.run(x.flatten()))
    assert_same(op.run(x.t()), op.run(x.t().flatten()))


# ---- errors ----


def test_errors(op):
    x = torch.zeros(3)
    integers(op, "entropy_bits", lambda v: op.run(x, entropy_bits=v), 1, 16)
    integers(op, "seed", lambda v: op.run(x, seed=v), 0, 2**63 - 1)
    for function in (op.run, op.ref):
        for bits in (0, 17, -1):
            with pytest.raises(ValueError, match=f"compress_weights: bits must be from 1 to 16, got {bits}"):
                function(x, bits=bits)
        with pytest.raises(TypeError, match="compress_weights: bits must be an integer, got float"):
            function(x, bits=8.0)
        for codec in ("Huffman", "constant", "", None, 3, ["raw"]):
            with pytest.raises(ValueError, match="compress_weights: codec must be 'auto', 'huffman', 'rans', 'fixed'"):
                function(x, codec=codec)
        for nonfinite in ("keep", None, True):
            with pytest.raises(ValueError, match=f"nonfinite must be 'error' or 'raw', got {nonfinite!r}"):
                function(x, nonfinite=nonfinite)
        for floor in (math.nan, math.inf):
            with pytest.raises(ValueError, match=f"compress_weights: floor must be finite, got {floor}"):
                function(x, floor=floor)
        for floor in ("6", None, torch.tensor(6)):
            with pytest.raises(TypeError, match="compress_weights: floor must be a number, got"):
                function(x, floor=floor)
        for sample in (0.0, 1.5, -1):
            with pytest.raises(ValueError, match="compress_weights: sample must be above 0 and at most 1, got"):
                function(x, sample=sample)

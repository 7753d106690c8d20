"""histogram on every backend."""

import pytest
import torch

from effdl_fast.testing.backends import forced

from ._weights import *  # noqa: F403
from ._weights import integers, wrong_codes

OP = "histogram"


def test_counts_every_value(op, backend):
    for dtype, values in ((torch.uint8, 256), (torch.uint16, 65536)):
        codes = torch.arange(values, dtype=torch.int32).repeat(3)
        codes = torch.cat([codes, codes[: values // 2]]).to(dtype).to(backend.device)
        with forced(backend, op.name):
            counts = op.run(codes, values)
        assert counts.dtype is torch.int64 and counts.shape == (values,)
        assert torch.equal(counts.cpu(), torch.tensor([4, 3]).repeat_interleave(values // 2))


def test_one_value_only(op, backend):
    """Every add hits the same counter."""
    for dtype in (torch.uint8, torch.uint16):
        codes = torch.full((1_000_001,), 200, dtype=torch.int32).to(dtype).to(backend.device)
        counts = op.run(codes, 256)
        assert counts[200] == 1_000_001 and counts.sum() == 1_000_001


def test_bins_beyond_the_dtype(op, backend):
    codes = torch.tensor([0, 255, 255], dtype=torch.uint8, device=backend.device)
    with forced(backend, op.name):
        counts = op.run(codes, 65536)
    assert counts.shape == (65536,) and counts.nonzero().flatten().tolist() == [0, 255]


def test_as_many_bins_as_the_largest_code_needs(op, backend):
    for n in range(1, 70):
        codes = (torch.arange(n) % 5).to(torch.uint8).to(backend.device)
        with forced(backend, op.name):
            counts = op.run(codes, 5)
        assert counts.tolist() == [len(range(i, n, 5)) for i in range(5)]


@pytest.mark.parametrize("kind", [torch.uint8, torch.uint16])
def test_codes_out_of_range(op, backend, kind):
    """One code among many, wherever it stands, is found: there is no memory for it."""
    torch.set_num_threads(2)
    for bins, bad in ((1, 1), (100, 100), (100, 255)) + (((257, 65535),) if kind is torch.uint16 else ()):
        for n, place in ((1, 0), (70, 69), (70, 33), (500_000, 444_444), (4097, 4096)):
            codes = torch.zeros(n, dtype=torch.int32)
            codes[place] = bad
            codes = codes.to(kind).to(backend.device)
            if backend.device.type == "cuda":
                assert bool((op.run(codes, bins) == -1).all())
                continue
            for function in (op.run, op.ref):
                with pytest.raises(ValueError, match=f"histogram: codes must be below bins = {bins}, got {bad}"):
                    function(codes, bins)


def test_bins(op):
    integers(op, "bins", lambda bins: op.run(torch.zeros(3, dtype=torch.uint8), bins), 1, 65536)


def test_dtypes(op):
    wrong_codes(op, lambda codes: op.run(codes, 256))

"""redundancy_depth on every backend."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from effdl_fast import _C
from effdl_fast.testing import peak_memory
from effdl_fast.testing.backends import forced, simd

from ._neighbours import *  # noqa: F403
from ._neighbours import ARITHMETICS, TakesLabels
from ._weights import expected, test_same_bits_as_the_reference, test_thread_counts_give_the_same_bits  # noqa: F401

OP = "redundancy_depth"


class TestLabels(TakesLabels):
    pass


def on_cpu(x, y, metric="l2", space=48 << 20, arithmetic="automatic"):
    depth = torch.empty(len(x), dtype=torch.int32)
    used, _ = _C.redundancy_depth(x.contiguous(), y.long(), depth, metric, space, 0, arithmetic)
    return depth, used


@pytest.mark.parametrize("arithmetic", ARITHMETICS[1:])
def test_arithmetics_give_the_same(op, case, backend, arithmetic):
    """What rules pairs out does not show in the result."""
    if backend.device.type == "cuda":
        pytest.skip("CPU kernels")
    (x, y), options, _ = case.call()
    depth, _ = on_cpu(x, y, **options, arithmetic=arithmetic)
    assert torch.equal(depth, expected(op.name, case, torch.device("cpu"), torch.float32)[1])


def test_bfloat16_runs_where_the_cpu_has_it():
    x, y = torch.randn(500, 64), torch.arange(500) % 5
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text() if cpu.exists() else ""
    with simd("scalar"):
        assert on_cpu(x, y, arithmetic="bfloat16")[1] == "float32"
    if "avx512_bf16" in flags and "avx512" in _C.build_info()["simd_levels"]:
        with simd("avx512"):
            assert on_cpu(x, y)[1] == "bfloat16"
            assert on_cpu(x, y, arithmetic="float32")[1] == "float32"


def test_bfloat16_is_given_up_where_it_says_too_little():
    """Clouds far smaller than their distances: the result is the same, by float32."""
    g = torch.Generator().manual_seed(0)
    x = 1e-3 * torch.randn(3000, 64, generator=g) + torch.randint(3, (3000, 1), generator=g)
    y = torch.randint(5, (3000,), generator=g)
    depth, used = on_cpu(x, y, arithmetic="bfloat16")
    assert used == "float32"
    assert torch.equal(depth, on_cpu(x, y, arithmetic="float32")[0])


def test_by_hand(op, backend):
    x = torch.tensor([[0.0], [1.0], [3.0], [2.9], [10.0]], device=backend.device)
    y = torch.tensor([7, 7, 7, -1, -1], device=backend.device)
    with forced(backend, op.name):
        # 0: enemy at 2.9, 1 nearer, 3 not. 1: enemy at 1.9, 0 nearer. 2: enemy at 0.1. 3: enemy at 0.1. 4: enemy at 7.
        assert op.run(x, y).tolist() == [1, 1, 0, 0, 0]


def test_ties_count_against(op, backend):
    x = torch.tensor([[0.0], [1.0], [-1.0], [0.0]], device=backend.device)
    assert op.run(x, torch.tensor([0, 0, 1, 0], device=backend.device)).tolist() == [1, 2, 0, 1]
    # A duplicate in another class is as near as can be.
    x = torch.tensor([[2.0], [2.0], [2.0]], device=backend.device)
    assert op.run(x, torch.tensor([0, 0, 1], device=backend.device)).tolist() == [0, 0, 0]


def test_one_class_only(op, backend):
    for n in (0, 1, 2, 500):
        depth = op.run(torch.randn(n, 3, device=backend.device), torch.zeros(n, device=backend.device).long())
        assert depth.dtype is torch.int32 and depth.tolist() == [n - 1] * n


def test_extreme_values(op, backend):
    """Squares that float32 or float64 cannot hold, and subnormal numbers."""
    for dtype, powers in ((torch.float32, (125, -126, -147)), (torch.float64, (1020, 500, -500, -1000, -1070))):
        g = torch.Generator().manual_seed(0)
        x, y = torch.randint(-3, 4, (200, 5), generator=g).to(dtype), torch.randint(3, (200,), generator=g)
        for metric in ("l2", "inner_product"):
            wanted = op.ref(x, y, metric=metric)
            for power in powers:
                small = (x.double() * 2.0**power).to(dtype)
                assert torch.equal(op.run(small.to(backend.device), y.to(backend.device), metric=metric).cpu(), wanted)


def test_cosines_of_rows_of_every_size(op, backend):
    """A row's size does not matter, however small it is beside others."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 3, generator=g, dtype=torch.float64), torch.randint(3, (200,), generator=g)
    wanted = op.ref(x, y, metric="cosine")
    sizes = 2.0 ** torch.tensor([0, -300, -400, 399], dtype=torch.float64)[torch.randint(4, (200, 1), generator=g)]
    assert torch.equal(op.run((x * sizes).to(backend.device), y.to(backend.device), metric="cosine").cpu(), wanted)


def test_flushed_subnormals(op):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 4, generator=g) * 1e-41, torch.randint(3, (300,), generator=g)
    wanted = op.run(x, y)
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot")
    try:
        assert torch.equal(op.run(x, y), wanted)
    finally:
        torch.set_flush_denormal(False)


def test_against_every_neighbour_list(op, backend):
    """depth >= k exactly where all k nearest neighbours are of the class."""
    g = torch.Generator().manual_seed(3)
    x, y = torch.randn(500, 6, generator=g, dtype=torch.float64), torch.randint(3, (500,), generator=g)
    x[:, 0] += 3 * y
    distance = (x[:, None] - x).square().sum(-1).fill_diagonal_(torch.inf)
    same = (y[distance.argsort(dim=1)[:, :-1]] == y[:, None]).long()
    depth = same.cumprod(dim=1).sum(dim=1)
    assert torch.equal(op.run(x.to(backend.device), y.to(backend.device)).cpu().long(), depth)


def test_margin_of_float64(op, backend):
    """A decision that float64 makes by a relative margin above 1e-5 is made the same: all of them are."""
    g = torch.Generator().manual_seed(4)
    x, y = torch.randn(400, 784, generator=g), torch.randint(2, (400,), generator=g)
    x[:200] = x[200:] + 1e-5 * torch.randn(200, 784, generator=g)  # neighbours far nearer than all others
    assert torch.equal(op.run(x.to(backend.device), y.to(backend.device)).cpu(), op.ref(x, y))


def test_views_of_large_memory(op, backend):
    """Rows far apart in memory."""
    large = torch.empty(1 << 16, 70, device=backend.device)
    x = large[::300]
    x.copy_(torch.randn(x.shape, generator=torch.Generator().manual_seed(0)))
    y = (torch.arange(len(x)) % 3).to(backend.device)
    assert torch.equal(op.run(x, y), op.ref(x, y))


MEASURE = """
import torch
from effdl_fast import ops
from effdl_fast.testing.peak_memory import rise_of
x, y = torch.randn(20_000, 784), torch.arange(20_000) % 10
ops.redundancy_depth(x[:100], y[:100])
print(rise_of(lambda: ops.redundancy_depth(x[:4000], y[:4000], max_workspace=1 << 20)))
print(rise_of(lambda: ops.redundancy_depth(x, y)))
"""


@pytest.mark.skipif(
    not peak_memory.AVAILABLE or _C.build_info()["sanitized"], reason="resident memory of a plain build"
)
def test_memory_is_bounded():
    """Beyond input and output: under 64 MB, and what max_workspace says; a matrix of all pairs would take 1.6 GB."""
    done = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True)
    little, usual = map(int, done.stdout.split())
    assert 0 < little < 8e6
    assert 8e6 < usual < 64e6

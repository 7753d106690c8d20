"""k_redundant on every backend."""

import pytest
import torch

import effdl_fast as ef
from effdl_fast import _C
from effdl_fast.testing.backends import forced

from ._neighbours import *  # noqa: F403
from ._neighbours import TakesLabels
from ._weights import integers, test_same_bits_as_the_reference, test_thread_counts_give_the_same_bits  # noqa: F401

OP = "k_redundant"


class TestLabels(TakesLabels):
    arguments = (2,)


def test_k(op):
    x, y = torch.zeros(3, 2), torch.zeros(3).long()
    integers(op, "k", lambda k: op.run(x, y, k), 1, (1 << 31) - 1)
    assert op.run(x, y, 2).tolist() == [True] * 3
    assert op.run(x, y, 3).tolist() == [False] * 3  # there are not as many neighbours


@pytest.mark.parametrize("classes", [2, 10, 100])
@pytest.mark.parametrize("separation", [0.0, 0.6, 3.0])
def test_large_data_are_settled_as_small_ones(op, backend, classes, separation):
    """More samples than what is needed for the short way of settling most of them."""
    g = torch.Generator().manual_seed(classes)
    y = torch.randint(classes, (5003,), generator=g)
    x = torch.randn(5003, 12, generator=g) + separation * torch.randn(classes, 12, generator=g)[y]
    x, y = x.to(backend.device), y.to(backend.device)
    depth = ef.ops.redundancy_depth(x, y)
    for k in (1, 3, 30):
        with forced(backend, op.name):
            assert torch.equal(op.run(x, y, k), depth >= k)
    assert torch.equal(op.run(x, y, 3, max_workspace=1 << 20), depth >= 3)


def test_some_enemies_settle_most_samples(op, backend):
    """Where few samples are redundant, and only there."""
    if backend.device.type == "cuda":
        pytest.skip("CPU kernels")
    g = torch.Generator().manual_seed(0)
    y = torch.randint(50, (5000,), generator=g)
    centres = torch.randn(50, 8, generator=g)
    for separation, short in ((0.0, True), (5.0, False)):
        x = torch.randn(5000, 8, generator=g) + separation * centres[y]
        depth = torch.empty(5000, dtype=torch.int32)
        for n, expected in ((5000, short), (4000, False)):  # below 4096 it never pays
            _, settled = _C.redundancy_depth(x[:n], y[:n], depth[:n], "l2", 48 << 20, 5)
            assert settled == expected
            assert torch.equal(depth[:n] >= 5, ef.ops.redundancy_depth(x[:n], y[:n]) >= 5)


def test_imbalanced_learn_keeps_the_same(op, backend):
    under_sampling = pytest.importorskip("imblearn.under_sampling")
    g = torch.Generator().manual_seed(0)
    for n, d, k in ((1200, 5, 1), (1200, 5, 3), (1500, 20, 10)):
        y = torch.randint(4, (n,), generator=g)
        x = torch.randn(n, d, generator=g) + 1.5 * torch.randn(4, d, generator=g)[y]
        theirs = under_sampling.EditedNearestNeighbours(n_neighbors=k, kind_sel="all", sampling_strategy="all")
        theirs.fit_resample(x.double().numpy(), y.numpy())
        ours = op.run(x.to(backend.device), y.to(backend.device), k).nonzero().flatten().tolist()
        assert ours == sorted(theirs.sample_indices_.tolist())

"""knn on every backend."""

import pytest
import torch

from effdl_fast import _C
from effdl_fast.testing.backends import forced

from ._neighbours import *  # noqa: F403
from ._neighbours import ARITHMETICS, nonfinite_points, wrong_points
from ._weights import expected, integers

OP = "knn"

# The reference takes a root in float64 and rounds, as the kernel does, of a sum in another order.
ULP = {torch.float32: 2.0**-23, torch.float64: 2.0**-46}


def assert_same_neighbours(ours, wanted, what=""):
    assert torch.equal(ours.indices, wanted.indices), what
    assert ours.distances.dtype is wanted.distances.dtype, what
    rtol = ULP[wanted.distances.dtype]
    # Sums of terms of both signs, and 1 - similarity, are as exact as their terms.
    atol = 2.0**-48 * max([1.0, *wanted.distances.abs().flatten().tolist()])
    torch.testing.assert_close(ours.distances, wanted.distances, rtol=rtol, atol=atol, msg=what or None)


@pytest.mark.cuda_small
def test_neighbours_of_the_reference(op, case, backend):
    for dtype in case.dtypes:
        call, wanted = expected(op.name, case, backend.device, dtype)
        if 0 in wanted.indices.shape:
            result = op.run(*call.args, **call.kwargs)
        else:
            with forced(backend, op.name):
                result = op.run(*call.args, **call.kwargs)
        assert_same_neighbours(result, wanted, f"{case} {dtype}")


@pytest.mark.parametrize("arithmetic", ARITHMETICS[1:])
def test_arithmetics_give_the_same(op, case, backend, arithmetic):
    if backend.device.type == "cuda":
        pytest.skip("CPU kernels")
    call, wanted = expected(op.name, case, torch.device("cpu"), torch.float32)
    distances, indices = torch.empty_like(wanted.distances), torch.empty_like(wanted.indices)
    metric, self_too = call.kwargs.get("metric", "l2"), call.kwargs.get("exclude_self", False)
    queries, keys = (x.contiguous() for x in call.args[:2])
    _C.knn(queries, keys, distances, indices, metric, self_too, 1 << 20, arithmetic)
    assert torch.equal(indices, wanted.indices)


def test_thread_counts_and_workspace_give_the_same_bits(op, backend):
    x = torch.randn(3000, 70, generator=torch.Generator().manual_seed(0)).to(backend.device)
    wanted = op.run(x, x, 30, exclude_self=True)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for space in (1 << 20, 5 << 20):
            with forced(backend, op.name):
                result = op.run(x, x, 30, exclude_self=True, max_workspace=space)
            assert torch.equal(result.indices, wanted.indices) and torch.equal(result.distances, wanted.distances)


def test_ties_go_to_the_lowest_index(op, backend):
    keys = torch.tensor([[1.0], [-1.0], [1.0], [0.0], [-1.0]], device=backend.device)
    found = op.run(torch.zeros(1, 1, device=backend.device), keys, 5)
    assert found.indices.tolist() == [[3, 0, 1, 2, 4]] and found.distances.tolist() == [[0, 1, 1, 1, 1]]
    same = torch.ones(5000, 3, device=backend.device)
    assert torch.equal(op.run(same[:9], same, 40).indices.cpu(), torch.arange(40).expand(9, 40))


def test_exclude_self_is_by_index(op, backend):
    x = torch.tensor([[0.0], [0.0], [5.0]], device=backend.device)
    assert op.run(x, x, 2, exclude_self=True).indices.tolist() == [[1, 2], [0, 2], [0, 1]]
    assert op.run(x, x, 3).indices.tolist() == [[0, 1, 2], [0, 1, 2], [2, 0, 1]]


def test_distances(op, backend):
    x = torch.tensor([[3.0, 4.0]], device=backend.device)
    keys = torch.tensor([[0.0, 0.0], [6.0, 8.0], [4.0, -3.0]], device=backend.device)
    assert op.run(x, keys, 3).distances.tolist() == [[5.0, 5.0, torch.tensor(50.0).sqrt().item()]]
    assert op.run(x, keys, 3, metric="cosine").distances.tolist() == [[0.0, 1.0, 1.0]]
    assert op.run(x, keys, 3, metric="inner_product").distances.tolist() == [[50.0, 0.0, 0.0]]


def test_extreme_values(op, backend):
    x = torch.tensor([[1e300], [-1e300], [0.0]], dtype=torch.float64, device=backend.device)
    assert op.run(x, x, 3).distances.tolist()[2] == [0.0, 1e300, 1e300]
    x = torch.tensor([[3e38], [-3e38], [0.0]], device=backend.device)
    assert op.run(x, x, 3).indices.tolist() == [[0, 2, 1], [1, 2, 0], [2, 0, 1]]


def test_products_beyond_float64(op, backend):
    x = torch.tensor([[2.0**600, 0.0], [0.0, 2.0**600]], dtype=torch.float64, device=backend.device)
    assert op.run(x, x, 2, metric="inner_product").distances.tolist() == [[float("inf"), 0.0]] * 2


def test_queries_that_are_a_part_of_the_keys(op, backend):
    """They share a pointer, not their number."""
    x = torch.randn(700, 6, generator=torch.Generator().manual_seed(0)).to(backend.device)
    x[400:] *= 1e20
    for queries, keys in ((x[:5], x), (x, x[:20]), (x[:0], x), (x[:, :0], x[:9, :0])):
        for metric in ("l2", "cosine", "inner_product"):
            assert_same_neighbours(
                op.run(queries, keys, 3, metric=metric), op.ref(queries, keys, 3, metric=metric), metric
            )
    x[650] = torch.nan
    with pytest.raises(ValueError, match="knn: row 650 of queries"):
        op.run(x, x[:20], 3)
    with pytest.raises(ValueError, match="knn: row 650 of keys"):
        op.run(x[:20], x, 3)


def test_k(op):
    x = torch.zeros(5, 2)
    integers(op, "k", lambda k: op.run(x, x, k), 0, 5)
    integers(op, "k", lambda k: op.run(x, x, k, exclude_self=True), 0, 4)
    assert op.run(x, x, 0).indices.shape == (5, 0)


def test_wrong_points(op):
    good = torch.zeros(4, 2)
    wrong_points(op, "queries", lambda x: op.run(x, good, 1))
    wrong_points(op, "queries", lambda x: op.ref(x, good, 1))
    with pytest.raises(TypeError, match=r"knn: keys must be a torch\.Tensor, got list"):
        op.run(good, [1.0], 1)
    with pytest.raises(TypeError, match="knn: keys must be float32 as queries are, got float64"):
        op.run(good, good.double(), 1)
    with pytest.raises(ValueError, match="knn: keys must have 2 features as queries have, got 3"):
        op.run(good, torch.zeros(4, 3), 1)
    with pytest.raises(ValueError, match="knn: exclude_self needs as many keys as queries"):
        op.run(good, torch.zeros(5, 2), 1, exclude_self=True)
    with pytest.raises(ValueError, match="metric must be one of"):
        op.run(good, good, 1, metric="manhattan")


def test_nonfinite_points(op, backend):
    nonfinite_points(op, backend, "queries", lambda x: op.run(x, torch.zeros_like(x), 1))
    nonfinite_points(op, backend, "keys", lambda x: op.run(torch.zeros_like(x), x, 1))
    nonfinite_points(op, backend, "queries", lambda x: op.run(x, x, 1))

"""Filters by redundancy and by loss: against a search for neighbours written out here, and at their edges."""

from __future__ import annotations

import multiprocessing

import pytest
import torch

np = pytest.importorskip("numpy")

from effdl_fast import metrics


def blobs(n=400, d=4, classes=3, spread=1.0, seed=0, dtype=torch.float32):
    """Classes that overlap, without ties between distances."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=generator)
    centres = torch.randn(classes, d, generator=generator)
    return (centres[y] + spread * torch.randn(n, d, generator=generator)).to(dtype), y


def kept_by_search(x, y, k):
    """The definition itself: sort the distances to all others, look at the labels of the first k."""
    x, y = np.asarray(x, np.float64).reshape(len(x), -1), np.asarray(y)
    kept = []
    for i in range(len(x)):
        distance = np.sqrt(((x - x[i]) ** 2).sum(1))
        others = np.array([j for j in np.argsort(distance, kind="stable") if j != i])
        if len(others) < k or (y[others[:k]] != y[i]).any():
            kept.append(i)
    return kept


@pytest.mark.parametrize("k", [1, 3, 5, 20])
def test_k_filter_is_the_definition(k):
    x, y = blobs()
    kept = metrics.k_filter(x, y, k)
    assert kept.dtype is torch.int64 and kept.tolist() == kept_by_search(x, y, k)
    assert 0 < len(kept) < len(x)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8])
def test_dtypes_and_more_dimensions(dtype):
    x, y = blobs(n=200, d=12)
    x = (20 * x + 128).clamp(0, 255) if dtype is torch.uint8 else x
    x = x.to(dtype).reshape(200, 3, 2, 2)
    expected = kept_by_search(x.double().numpy(), y, 4)
    assert metrics.k_filter(x, y, 4).tolist() == expected
    if dtype is not torch.bfloat16:
        assert metrics.k_filter(x.numpy(), y.numpy(), 4).tolist() == expected
        assert metrics.k_filter(x.numpy()[::-1], y.numpy()[::-1], 4).tolist() == [199 - i for i in expected[::-1]]


@pytest.mark.parametrize(
    "dtype", ["int8", "uint8", "int16", "uint16", ">u2", "int32", "uint32", "int64", "uint64", "?"]
)
def test_labels_of_any_integer_dtype(dtype):
    x, y = blobs(classes=2)
    y = y.numpy().astype(dtype)
    if dtype == "uint64":
        y += np.uint64(2**64 - 2)
    assert metrics.k_filter(x, y, 3).tolist() == kept_by_search(x, y, 3)


def test_inputs_that_are_read_only_foreign_or_need_gradients(recwarn):
    x, y = blobs()
    expected = metrics.k_filter(x, y, 3)
    array = x.numpy().astype(">f4")
    array.setflags(write=False)
    assert torch.equal(metrics.k_filter(array, y, 3), expected)
    kept = metrics.k_filter(x.clone().requires_grad_(), y, 3)
    assert torch.equal(kept, expected) and not kept.requires_grad
    assert not recwarn.list


def test_metrics_differ_and_are_passed_on():
    x, y = blobs(d=3)
    normed = x / x.norm(dim=1, keepdim=True)
    cosine = metrics.k_filter(x, y, 3, metric="cosine")
    assert cosine.tolist() == kept_by_search(normed.double(), y, 3) and not torch.equal(
        cosine, metrics.k_filter(x, y, 3)
    )
    with pytest.raises(ValueError, match="metric must be one of"):
        metrics.k_filter(x, y, 3, metric="l1")
    with pytest.raises(ValueError, match="max_workspace"):
        metrics.k_filter(x, y, 3, max_workspace=1)


def test_edges():
    x, y = blobs()
    assert metrics.k_filter(x[:0], y[:0], 5).shape == (0,) and metrics.k_filter(x[:0], y[:0], 5, 10).shape == (0,)
    assert metrics.k_filter(x[:1], y[:1], 1).tolist() == [0]
    assert metrics.k_filter(x[:10], torch.zeros(10, dtype=torch.int64), 9).shape == (0,), "one class: all redundant"
    assert len(metrics.k_filter(x[:10], torch.zeros(10, dtype=torch.int64), 10)) == 10, "fewer neighbours than k"
    tie = torch.tensor([[0.0], [1.0], [-1.0], [9.0]])
    assert 0 in metrics.k_filter(tie, torch.tensor([0, 0, 1, 1]), 1), "a tie counts against"
    twice = torch.tensor([[0.0], [0.0], [3.0], [9.0]])
    assert metrics.k_filter(twice, torch.tensor([0, 0, 1, 0]), 1).tolist() == [2, 3], "a duplicate is a neighbour"


@pytest.mark.parametrize(("x", "y", "k", "kind", "message"), [
    ([[0.0]], torch.zeros(1), 1, TypeError, "k_filter: x must be a torch.Tensor or a NumPy array, got list"),
    (torch.zeros(3), torch.zeros(3), 1, ValueError, "x must have two or more dimensions .* got float32 of shape .3,."),
    (torch.zeros(3, 2), torch.zeros(2, dtype=torch.long), 1, ValueError, "y must have shape .3,.*, got int64"),
    (torch.zeros(3, 2), torch.zeros(3), 1, TypeError, "k_filter: y must be integers, got float32"),
    (torch.zeros(3, 2, dtype=torch.long), torch.zeros(3, dtype=torch.long), 1, TypeError, "k_filter: x must be float"),
    (torch.tensor([[0.0], [float("nan")]]), torch.tensor([0, 1]), 1, ValueError, "k_filter: row 1 of x holds NaN"),
    (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), 0, ValueError, "k_filter: k must be from 1"),
    (torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), 1.5, TypeError, "k_filter: k must be an integer"),
    (np.array([["a"]]), torch.zeros(1), 1, TypeError, "x must hold numbers"),
])  # fmt: skip
def test_wrong_arguments(x, y, k, kind, message):
    with pytest.raises(kind, match=message):
        metrics.k_filter(x, y, k)


# ---- mini-batches ----


@pytest.mark.parametrize(
    ("n", "size", "count"),
    [
        (60000, 6148, 10),
        (10, 3, 3),
        (11, 4, 3),
        (7, 100, 1),
        (5, 1, 5),
        (8999, 6000, 1),
        (9000, 6000, 2),
        (6149, 6148, 1),
    ],
)
def test_mini_batches_partition_evenly(n, size, count):
    batches = metrics.mini_batches(n, size, 0)
    sizes = [len(b) for b in batches]
    assert len(sizes) == count and max(sizes) - min(sizes) <= 1
    assert torch.equal(torch.cat(batches).sort().values, torch.arange(n))
    assert all(bool((b.diff() > 0).all()) for b in batches)


def test_mini_batches_are_random_and_repeatable():
    def drawn(generator):
        return [b.tolist() for b in metrics.mini_batches(100, 20, generator)]

    assert drawn(1) == drawn(1) == drawn(torch.Generator().manual_seed(1)) != drawn(2)
    generator = torch.Generator().manual_seed(1)
    assert drawn(generator) != drawn(generator)
    before = torch.get_rng_state()
    metrics.mini_batches(100, 20, 1), metrics.mini_batches(100, None), metrics.mini_batches(0, 20)
    assert torch.equal(before, torch.get_rng_state()), "a seed leaves torch's own state alone"
    torch.manual_seed(3)
    first = drawn(None)
    torch.manual_seed(3)
    assert drawn(None) == first
    for wrong, message in [
        ((5, 0), "batch_size must be from 1"),
        ((-1, 5), "n must be from 0"),
        ((5, 2, "x"), "generator"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            metrics.mini_batches(*wrong)


def test_batches_filter_each_by_itself():
    x, y = blobs(n=600)
    kept = set(metrics.k_filter(x, y, 3, 150, generator=5).tolist())
    depth = metrics.redundancy_depths(x, y, 150, generator=5)
    batches = metrics.mini_batches(600, 150, 5)
    assert len(batches) == 4
    expected = {int(b[i]) for b in batches for i in kept_by_search(x[b], y[b], 3)}
    assert kept == expected == set((depth < 3).nonzero().squeeze(1).tolist())
    assert len(kept) > len(metrics.k_filter(x, y, 3)), "a smaller batch keeps more"
    assert metrics.k_filter(x, y, 3, 600).tolist() == metrics.k_filter(x, y, 3, None).tolist()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("batch_size", [None, 50])
def test_errors_name_the_callers_rows_and_arguments(bad, batch_size, monkeypatch):
    from effdl_fast.metrics import filtering

    monkeypatch.setattr(filtering, "LOOKED_AT", 64)  # sixteen rows at once
    x, y = blobs()
    x[321, 2] = x[390, 0] = bad
    runs = {"k_filter": lambda *a, **b: metrics.k_filter(*a[:2], 3, *a[2:], **b),
            "redundancy_depths": metrics.redundancy_depths}  # fmt: skip
    for who, run in runs.items():
        with pytest.raises(ValueError, match=f"^{who}: row 321 of x holds NaN or infinity"):
            run(x, y, batch_size, generator=0)
        with pytest.raises(TypeError, match=f"^{who}: y must be integers"):
            run(x, y.float(), batch_size)
        with pytest.raises(TypeError, match=f"^{who}: x must be a dense tensor"):
            run(x.to_sparse(), y, batch_size)
        for more in ({"metric": "l1"}, {"max_workspace": 1}):
            with pytest.raises(ValueError, match=f"^{who}: {next(iter(more))}"):
                run(x[:100], y[:100], batch_size, **more)


def test_numbers_whose_sum_overflows_are_finite():
    x, y = blobs(dtype=torch.float16)
    x[:, 0] = 60000
    assert x.sum().isinf() and metrics.k_filter(x, y, 3, 100, generator=0).numel()
    x[7], x[9] = float("inf"), -float("inf")
    with pytest.raises(ValueError, match="k_filter: row 7 of x"):
        metrics.k_filter(x, y, 3)


def test_progress_counts_all_samples():
    x, y = blobs()
    done = []
    metrics.k_filter(x, y, 3, 100, progress=done.append)
    assert done == [100] * 4
    metrics.redundancy_depths(x, y, progress=done.append)
    assert done[4:] == [400]


# ---- the curve ----


def test_curve_is_what_k_filter_keeps():
    x, y = blobs()
    depth = metrics.redundancy_depths(x, y)
    curve = metrics.kept_curve(depth)
    assert curve.dtype is torch.float64 and curve[-1] == 1 and curve[-2] < 1 and len(curve) == int(depth.max()) + 1
    for k in (1, 2, 7, 30):
        assert curve[k - 1] == len(metrics.k_filter(x, y, k)) / 400
    assert torch.equal(
        metrics.kept_curve(depth, [30, 2, 10**9]), torch.stack([curve[29], curve[1], torch.ones(()).double()])
    )
    itself = metrics.kept_curve(depth, counting_self=True)
    assert torch.equal(itself, torch.cat([torch.zeros(1).double(), curve])), "k nearest with oneself are k - 1 others"
    assert metrics.kept_curve(torch.zeros(4, dtype=torch.int32)).tolist() == [1.0]
    assert torch.equal(metrics.kept_curve(depth.numpy()), curve), "as of depth.npy"


@pytest.mark.parametrize(("depth", "ks", "message"), [
    (torch.zeros(3), None, "depth must be a vector of integers, got float32"),
    (torch.zeros(0, dtype=torch.int32), None, "holds no samples"),
    (torch.tensor([-1]), None, "must not be negative"),
    (torch.tensor([1]), [0], "ks must be from 1"),
    ([1, 2], None, "got list"),
    (torch.tensor([1]), 5, "kept_curve: ks must be a sequence of integers, got int"),
    (torch.tensor([1]), torch.tensor(5), "kept_curve: ks must be a sequence of integers, got Tensor"),
])  # fmt: skip
def test_curve_refuses(depth, ks, message):
    with pytest.raises((TypeError, ValueError), match=message):
        metrics.kept_curve(depth, ks)


# ---- by loss ----


def test_loss_filter_drops_the_lowest_and_never_nan():
    losses = torch.tensor([0.5, 0.1, float("nan"), 0.1, float("inf"), -1.0, 0.1])
    assert metrics.loss_filter(losses, 0).tolist() == list(range(7))
    assert metrics.loss_filter(losses, 2 / 7).tolist() == [0, 2, 3, 4, 6], "ties: the lowest index goes first"
    assert metrics.loss_filter(losses.numpy(), 3 / 7).tolist() == [0, 2, 4, 6]
    assert metrics.loss_filter(losses, 1).tolist() == [2]
    assert metrics.loss_filter(torch.rand(100), 0.29).shape == (71,), "0.29 * 100 is below 29 in binary"
    assert metrics.loss_filter(torch.rand(3), 0.5).shape == (2,), "rounded down"
    for almost in (0.99999999, 1 - 1e-12):
        assert metrics.loss_filter(torch.rand(10), almost).shape == (1,), "rounded down, however near"
    for n in range(1, 120):
        losses = torch.rand(n)
        for part in range(n + 1):
            assert len(metrics.loss_filter(losses, part / n)) == n - part, (part, n)
    assert metrics.loss_filter(torch.rand(0), 0.5).shape == (0,)


@pytest.mark.parametrize(("losses", "share", "message"), [
    (torch.zeros(3), 1.1, "share must be from 0 to 1"),
    (torch.zeros(3), float("nan"), "share must be finite"),
    (torch.zeros(3), "half", "share must be a number"),
    (torch.zeros(3, 1), 0.5, "vector of floats"),
    (torch.zeros(3, dtype=torch.long), 0.5, "vector of floats"),
    ([0.1], 0.5, "got list"),
])  # fmt: skip
def test_loss_filter_refuses(losses, share, message):
    with pytest.raises((TypeError, ValueError), match=message):
        metrics.loss_filter(losses, share)


# ---- the sampler ----


def test_sampler_goes_through_the_kept():
    kept = torch.tensor([3, 5, 8, 13])
    assert list(metrics.RedundancySampler(kept, shuffle=False)) == [3, 5, 8, 13]
    sampler = metrics.RedundancySampler(kept.numpy(), seed=1)
    assert len(sampler) == 4 and list(sampler) == list(sampler) and sorted(sampler) == [3, 5, 8, 13]
    orders = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        orders.add(tuple(sampler))
    assert len(orders) > 5
    sampler.refresh(torch.tensor([1]))
    assert list(sampler) == [1] and len(sampler) == 1
    assert list(metrics.RedundancySampler(torch.empty(0, dtype=torch.long))) == []


def test_seeds_do_not_repeat_each_other():
    kept = torch.arange(50)
    first, second = metrics.RedundancySampler(kept, seed=0), metrics.RedundancySampler(kept, seed=1)
    first.set_epoch(1)
    assert list(first) != list(second)


def test_sampler_in_a_loader():
    x, y = blobs(n=100)
    kept = metrics.k_filter(x, y, 2)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=7, sampler=metrics.RedundancySampler(kept, seed=4)
    )
    seen = torch.cat([batch for batch, _ in loader])
    assert len(loader) == -(-len(kept) // 7)
    assert sorted(map(tuple, seen.tolist())) == sorted(map(tuple, x[kept].tolist()))


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 12])
@pytest.mark.parametrize("drop_last", [False, True])
def test_processes_share_one_permutation(n, drop_last):
    kept = torch.arange(n) + 100
    parts = [metrics.RedundancySampler(kept, rank=r, world_size=3, drop_last=drop_last) for r in range(3)]
    for part in parts:
        part.set_epoch(2)
    drawn = [list(part) for part in parts]
    length = n // 3 if drop_last else -(-n // 3)
    assert all(len(one) == len(part) == length for one, part in zip(drawn, parts, strict=True))
    together = [index for one in drawn for index in one]
    assert set(together) <= set(kept.tolist())
    if drop_last:
        assert len(set(together)) == len(together) == 3 * (n // 3)
    else:
        assert set(together) == set(kept.tolist())


@pytest.mark.parametrize(("kept", "more", "message"), [
    (torch.tensor([0.5]), {}, "kept must be a vector of integer indices, got float32"),
    (torch.tensor([True]), {}, "got bool"),
    (torch.tensor([-1]), {}, "negative"),
    (torch.tensor([1]), {"rank": 0}, "rank and world_size go together"),
    (torch.tensor([1]), {"rank": 2, "world_size": 2}, "rank must be from 0 to 1"),
    (torch.tensor([1]), {"seed": -1}, "seed must be from 0"),
])  # fmt: skip
def test_sampler_refuses(kept, more, message):
    with pytest.raises((TypeError, ValueError), match=message):
        metrics.RedundancySampler(kept, **more)


def _rank_of_group(rank, file, queue):
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    queue.put((rank, list(metrics.RedundancySampler(torch.arange(6), seed=3))))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_sampler_takes_its_place_in_the_process_group(tmp_path):
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [context.Process(target=_rank_of_group, args=(rank, tmp_path / "store", queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    drawn = dict(queue.get(timeout=120) for _ in workers)
    for worker in workers:
        worker.join(60)
    expected = list(metrics.RedundancySampler(torch.arange(6), seed=3))
    assert drawn == {0: expected[0::2], 1: expected[1::2]}

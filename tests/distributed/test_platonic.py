"""PlatonicMLP over gloo processes: the network of all samples, on every rank."""

import pytest
import torch
import torch.distributed as dist

from effdl_fast.solvers import ELM, PlatonicMLP

from ._gloo import assert_equal_everywhere, run

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")

OPTIONS = [
    {"hidden": (9, 7)},
    {"hidden": (80,), "tries": 3},
    {"hidden": (20, 15), "projection": "pca", "first": "sorted_pca", "ema": 0.2},
    {"hidden": (9,), "l2": "loo"},
    {"hidden": (9, 7), "solver": "pinv"},
    {"hidden": (9, 7), "solver": "lstsq", "projection": "pca", "ema": 0.2},
    {"hidden": (9,), "l2": 0.0, "activation": "identity"},  # singular: by the triangular factor
]


def _samples():
    g = torch.Generator().manual_seed(0)
    y = torch.randint(5, (600,), generator=g)
    return (torch.randn(600, 6, generator=g, dtype=torch.float64) + y[:, None].double()).double(), y


def _close(a, b, tolerance):
    for u, v in zip([*a.layers_.weights, a.output_], [*b.layers_.weights, b.output_], strict=True):
        assert float((u - v).norm()) <= tolerance * float(v.norm())


def _share(rank, ranks):
    """Unequal shares; the last rank lacks a class."""
    x, y = _samples()
    own = torch.arange(600) < 450 if rank == 0 else torch.arange(600) >= 450
    if ranks == 3 and rank > 0:
        own &= torch.arange(600) % 2 == rank % 2
    if rank == ranks - 1:
        own &= y != 3
    return x, y, own


def _the_network_of_all_samples(rank, ranks):
    for options in OPTIONS:
        x, y, own = _share(rank, ranks)
        kept = torch.zeros(600)
        kept[own] = 1
        dist.all_reduce(kept)
        x_, y_ = x[own], y[own]
        model = PlatonicMLP(seed=1, **{"activation": "tanh", "beta": 2.0, **options}).fit(x_, y_, group=True)
        assert_equal_everywhere(*model.layers_.weights, model.output_)
        ordered = torch.cat([x[_share(r, ranks)[2]] for r in range(ranks)])
        labels = torch.cat([y[_share(r, ranks)[2]] for r in range(ranks)])
        assert len(ordered) == int(kept.sum())
        whole = PlatonicMLP(**model.get_params()).fit(ordered, labels)
        if options.get("l2") != 0.0:
            _close(model, whole, 1e-9)
        torch.testing.assert_close(model.decision_function(x), whole.decision_function(x), rtol=1e-6, atol=1e-6)
        assert [r.width for r in model.history_] == [r.width for r in whole.history_]
        assert model.history_[-1].lsd == pytest.approx(whole.history_[-1].lsd, rel=1e-8)


def _without_a_seed(rank, ranks):
    x, y, own = _share(rank, ranks)
    model = PlatonicMLP((6,), seed=None).fit(x[own], y[own], group=dist.group.WORLD)
    assert_equal_everywhere(*model.layers_.weights, model.output_)
    elm = ELM((6,), seed=None).fit(x[own], y[own], group=True)
    assert_equal_everywhere(*elm.layers_.weights, elm.output_)


def _by_batches(rank, ranks):
    x, y, own = _share(rank, ranks)
    model = PlatonicMLP((6,), seed=3)
    for _ in range(2):
        for batch in own.nonzero()[:, 0].split(50):
            model.partial_fit(x[batch], y[batch], classes=range(5))
        model.next_layer(group=True)
    whole = PlatonicMLP((6,), seed=3).fit(x[own], y[own], group=True)
    _close(model, whole, 1e-9)
    assert_equal_everywhere(*model.layers_.weights, model.output_)
    model.partial_fit(x[own], y[own]).next_layer(group=True)
    assert_equal_everywhere(model.output_)
    torch.testing.assert_close(model.layers_.weights[0], whole.layers_.weights[0], rtol=1e-9, atol=1e-9)
    unseeded = PlatonicMLP((6,), seed=None).partial_fit(x[own], y[own], classes=range(5))
    with pytest.raises(ValueError, match="need a seed"):
        unseeded.next_layer(group=True)


def _what_is_wrong_on_one_rank(rank, ranks):
    x, y, own = _share(rank, ranks)
    x, y = x[own], y[own]
    bad = x.clone()
    bad[2, 3] = float("nan")
    with pytest.raises(ValueError, match="in row 2" if rank == 0 else "rank 0: X contains NaN or infinity, in row 2"):
        PlatonicMLP((3,)).fit(bad if rank == 0 else x, y, group=True)
    with pytest.raises(ValueError, match="samples of one kind"):
        PlatonicMLP((3,)).fit(x[:, : 5 + (rank == 0)], y, group=True)
    with pytest.raises(ValueError, match="samples of one kind"):
        PlatonicMLP((3,)).fit(x.float() if rank == 0 else x, y, group=True)
    PlatonicMLP((3,)).fit(x, y, group=True)


@pytest.mark.parametrize("ranks", [2, 3])
@pytest.mark.parametrize(
    "work", [_what_is_wrong_on_one_rank, _the_network_of_all_samples, _without_a_seed, _by_batches]
)
def test_over_processes(work, ranks, tmp_path):
    run(work, ranks, tmp_path)


def test_a_group_needs_processes():
    x, y = _samples()
    with pytest.raises(ValueError, match="init_process_group"):
        PlatonicMLP((3,)).fit(x, y, group=True)

"""The filter of training loops: what it selects, its cap, its guard of classes, its epochs and its counts."""

from __future__ import annotations

import json

import pytest
import torch

np = pytest.importorskip("numpy")

from effdl_fast import metrics
from effdl_fast.metrics import OnlineFilter

from .test_filtering import blobs


def test_without_a_cap_it_is_k_filter():
    x, y = blobs()
    for k in (1, 4):
        assert torch.equal(OnlineFilter(k, max_share=1).select(x, y), metrics.k_filter(x, y, k))
    cosine = OnlineFilter(2, max_share=1, metric="cosine").select(x.numpy(), y.numpy())
    assert torch.equal(cosine, metrics.k_filter(x, y, 2, metric="cosine"))
    assert torch.equal(OnlineFilter(2, max_share=1).select(x.reshape(400, 2, 2), y), metrics.k_filter(x, y, 2))


@pytest.mark.parametrize("cap", [0, 0.1, 0.25, 0.29])
def test_the_cap_drops_the_deepest(cap):
    x, y = blobs()
    depth = metrics.redundancy_depths(x, y)
    assert int((depth >= 1).sum()) >= 0.3 * 400
    kept = OnlineFilter(1, max_share=cap, cap="batch").select(x, y)
    deepest = sorted(range(400), key=lambda i: (-int(depth[i]), i))
    assert kept.dtype is torch.int64 and kept.tolist() == sorted(set(range(400)) - set(deepest[: round(cap * 400)]))

    by_class = OnlineFilter(1, max_share=cap).select(x, y)
    dropped = set()
    for label in range(3):
        own = [i for i in deepest if y[i] == label]
        most = int(cap * len(own) + 1e-9)
        dropped |= {i for i in own[:most] if depth[i] >= 1}
    assert by_class.tolist() == sorted(set(range(400)) - dropped) and len(dropped) <= cap * 400


def test_the_cap_leaves_the_classes_as_frequent_as_they_are():
    """Class 2 is far from the others and thus deepest: a cap on the batch alone takes nearly all of it."""
    x, y = blobs(n=900)
    x[y == 2] += 50
    labels = y + (y == 2) * 7  # any numbers
    by_batch, by_class = (OnlineFilter(1, max_share=0.3, cap=cap).select(x, labels) for cap in ("batch", "class"))
    share = [[float((y[kept] == c).sum() / (y == c).sum()) for c in range(3)] for kept in (by_batch, by_class)]
    assert share[0][2] < 0.2 and share[0][0] > 0.9
    assert all(abs(s - 0.7) < 0.01 for s in share[1])


def test_a_class_well_apart_does_not_vanish():
    x = torch.cat([torch.arange(6.0), torch.arange(100.0, 106)])[:, None]
    y = torch.tensor([0] * 6 + [1] * 6)
    assert metrics.k_filter(x, y, 3).tolist() == []
    assert OnlineFilter(3, max_share=1).select(x, y).tolist() == [5, 11], "all as deep: that of highest index stays"
    assert OnlineFilter(3, max_share=1, keep_classes=False).select(x, y).tolist() == []
    mixed = torch.cat([x, torch.tensor([[0.4]])])
    kept = OnlineFilter(3, max_share=1).select(mixed, torch.cat([y, torch.tensor([1])])).tolist()
    assert 12 in kept and set(kept) & set(range(6)), (
        "an enemy among class 0 keeps samples of it, and itself for class 1"
    )
    assert not set(kept) & set(range(6, 12)), "so no other sample of class 1 is protected"


def test_one_class_fills_the_cap_and_no_more():
    x, y = torch.randn(100, 3), torch.zeros(100, dtype=torch.int64)
    assert len(OnlineFilter(5).select(x, y)) == 40
    assert len(OnlineFilter(5, max_share=1).select(x, y)) == 1
    assert OnlineFilter(5).select(x[:0], y[:0]).shape == (0,)


def test_losses():
    losses, labels = torch.tensor([0.3, 0.1, 0.2, 0.9, float("nan"), 0.1]), torch.tensor([0, 1, 0, 0, 2, 1])
    free = OnlineFilter(share=0.5, keep_classes=False)
    assert torch.equal(free.select_by_loss(losses), metrics.loss_filter(losses, 0.5))
    assert free.select_by_loss(losses, labels).tolist() == [0, 3, 4]
    guarded = OnlineFilter(share=0.5)
    assert guarded.select_by_loss(losses, labels).tolist() == [3, 4, 5], "class 1 keeps its last, 0 goes in its place"
    assert OnlineFilter(share=1).select_by_loss(losses.numpy(), labels.numpy()).tolist() == [3, 4, 5]
    with pytest.raises(ValueError, match="labels are needed"):
        guarded.select_by_loss(losses)
    with pytest.raises(ValueError, match=r"labels must have shape \(6,\), got \(5,\)"):
        guarded.select_by_loss(losses, labels[:5])
    with pytest.raises(ValueError, match="made without share"):
        OnlineFilter(3).select_by_loss(losses, labels)
    with pytest.raises(TypeError, match="vector of floats"):
        guarded.select_by_loss(labels, labels)


def test_k_by_layer_and_by_schedule():
    x, y = blobs()
    layers = OnlineFilter({"conv1": 1, "conv2": 9}, max_share=1)
    assert torch.equal(layers.select(x, y, layer="conv1"), metrics.k_filter(x, y, 1))
    assert torch.equal(layers.select(x, y, layer="conv2"), metrics.k_filter(x, y, 9))
    with pytest.raises(ValueError, match="no layer 'input'; its layers: conv1, conv2"):
        layers.select(x, y)
    asked = []

    def schedule(layer, epoch):
        asked.append((layer, epoch))
        return None if epoch == 0 else 5 - epoch

    scheduled = OnlineFilter(schedule, max_share=1)
    assert len(scheduled.select(x, y)) == 400
    scheduled.step()
    assert torch.equal(scheduled.select(x, y, layer="fc"), metrics.k_filter(x, y, 4))
    scheduled.step()
    assert torch.equal(scheduled.select(x, y), metrics.k_filter(x, y, 3))
    assert asked == [("input", 0), ("fc", 1), ("input", 2)]
    for _ in range(3):
        scheduled.step()
    with pytest.raises(ValueError, match="OnlineFilter: k must be from 1"):
        scheduled.select(x, y)


def test_epochs_of_warm_up_keep_all_and_count():
    x, y = blobs()
    online = OnlineFilter(1, share=0.25, start_epoch=2)
    for epoch in range(4):
        assert online.epoch == epoch and online.active == (epoch >= 2)
        kept = online.select(x, y)
        by_loss = online.select_by_loss(x[:, 0], y, layer="loss")
        assert (len(kept) < 400, len(by_loss)) == ((True, 300) if epoch >= 2 else (False, 400))
        online.select(x[:10], y[:10])
        online.step()
    counts = online.statistics()
    assert [(c.epoch, c.layer, c.batches, c.seen) for c in counts] == [
        row for e in range(4) for row in ((e, "input", 2, 410), (e, "loss", 1, 400))
    ]
    assert [c.dropped for c in counts[:4]] == [0] * 4
    assert counts[5].dropped == 100 and counts[5].share == 0.25
    assert counts[6].dropped >= 400 - len(kept)


def test_state_goes_through_json():
    x, y = blobs()
    online = OnlineFilter(1, start_epoch=1)
    online.select(x, y)
    online.step()
    online.select(x, y)
    state = json.loads(json.dumps(online.state_dict()))
    other = OnlineFilter(1, start_epoch=1)
    other.load_state_dict(state)
    assert other.epoch == 1 and other.active and other.statistics() == online.statistics()
    online.select(x, y), other.select(x, y)
    assert other.statistics() == online.statistics() and other.statistics()[1].batches == 2
    assert state == json.loads(json.dumps(state)), "the loaded state is not the filter's own"
    for wrong in (
        {},
        {"epoch": 1},
        {"epoch": -1, "statistics": []},
        {"epoch": 0, "statistics": [{"layer": "a", "x": 1}]},
        [1],
        {"epoch": 0, "statistics": 3},
        {"epoch": 0, "statistics": ["ab"]},
        *(
            {"epoch": 0, "statistics": [{"epoch": 0, "layer": "a", "batches": 1, "seen": 5, "dropped": 2, name: value}]}
            for name, value in [
                ("layer", 3),
                ("epoch", "0"),
                ("seen", 5.0),
                ("dropped", -1),
                ("dropped", 6),
                ("batches", True),
            ]
        ),
    ):
        with pytest.raises(ValueError, match="OnlineFilter"):
            other.load_state_dict(wrong)
    assert other.statistics() == online.statistics(), "a refused state changes nothing"


def test_it_draws_no_random_number_and_takes_no_gradient():
    x, y = blobs()
    before = torch.get_rng_state()
    kept = OnlineFilter(1).select(x.requires_grad_(), y)
    assert not kept.requires_grad and torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("arguments", "more", "kind", "message"), [
    ((), {}, ValueError, "give k to select by redundancy, share"),
    ((0,), {}, ValueError, "k must be from 1"),
    (({"a": 0},), {}, ValueError, "k of a must be from 1"),
    ((2.5,), {}, TypeError, "k must be an integer"),
    ((1,), {"max_share": 1.5}, ValueError, "max_share must be from 0 to 1"),
    ((), {"share": -0.1}, ValueError, "share must be from 0 to 1"),
    ((1,), {"start_epoch": -1}, ValueError, "start_epoch must be from 0"),
    ((1,), {"metric": "l1"}, ValueError, "metric must be one of"),
    ((1,), {"max_workspace": 5}, ValueError, "max_workspace must be from"),
    ((1,), {"cap": "epoch"}, ValueError, "cap must be class or batch, got 'epoch'"),
])  # fmt: skip
def test_wrong_settings(arguments, more, kind, message):
    with pytest.raises(kind, match=f"OnlineFilter: {message}"):
        OnlineFilter(*arguments, **more)


def test_wrong_batches():
    online = OnlineFilter(1)
    with pytest.raises(ValueError, match=r"OnlineFilter.select: labels must have shape \(3,\)"):
        online.select(torch.zeros(3, 2), torch.zeros(2, dtype=torch.int64))
    for filter_ in (online, OnlineFilter(1, start_epoch=5)):  # in warm-up as later
        with pytest.raises(ValueError, match=r"OnlineFilter.select: row 1 of features holds NaN or infinity"):
            filter_.select(torch.tensor([[0.0], [float("inf")]]), torch.tensor([0, 1]))
        with pytest.raises(TypeError, match=r"OnlineFilter.select: labels must be integers, got float32"):
            filter_.select(torch.zeros(2, 1), torch.zeros(2))
        with pytest.raises(TypeError, match=r"OnlineFilter.select: features must be float32"):
            filter_.select(torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
        assert filter_.statistics() == []
    with pytest.raises(TypeError, match=r"OnlineFilter.select_by_loss: labels must be integers, got float32"):
        OnlineFilter(share=0.5).select_by_loss(torch.zeros(2), torch.zeros(2))
    with pytest.raises(ValueError, match="made without k"):
        OnlineFilter(share=0.5).select(torch.zeros(3, 2), torch.zeros(3, dtype=torch.int64))
    assert online.statistics() == [], "what was refused is not counted"

"""Chapter 5's experiments: toy points, layers, filtered training, claims.

Claims of the thesis print "thesis X, measured Y" (pytest -s).
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

pytest.importorskip("tqdm")

from effdl_fast import metrics
from effdl_fast.errors import UserError
from effdl_fast.reproduce import experiment, plots, runner, train
from effdl_fast.reproduce.ch5 import (
    checkerboard,
    conditional_entropy,
    k_filter_toy,
    k_redundancy_per_layer,
    lsd,
    pca_of_layers,
    pure_voronoi,
    selections,
    table_5_1,
    table_5_1_fashion,
)
from effdl_fast.reproduce.ch5.parts import filtered, layers, points
from effdl_fast.reproduce.experiment import Plan

from ._reproduce import blobs, trial

CHAPTER5 = [
    "checkerboard",
    "conditional_entropy",
    "k_filter_toy",
    "k_redundancy_per_layer",
    "lsd",
    "pca_of_layers",
    "pure_voronoi",
    "selections",
    "table_5_1",
    "table_5_1_fashion",
]


@pytest.fixture(autouse=True)
def one_thread():
    """The work is too small to share: on a busy machine, waiting for a second thread only slows it down."""
    with train.cpu_threads(1):
        yield


def quick(module, **changes):
    """The quick plan of an experiment, on whatever data the test gives."""
    plan = module.EXPERIMENT.quick
    return replace(plan, options={**plan.options, **changes})


def overlapping(*shape):
    """Blobs so wide that no filter leaves nothing of them."""
    data = blobs(*shape)
    noise = torch.randn(data.x_train.shape, generator=torch.Generator().manual_seed(2))
    return replace(data, x_train=data.x_train + noise)


def made(module, trials, plan=None, data=None):
    """A result of `trials`: label -> list of raw results."""
    records = [
        {"setting": label, "seed": seed, "result": raw, "environment": {}}
        for label, runs in trials.items()
        for seed, raw in enumerate(runs)
    ]
    plan, found = plan or module.EXPERIMENT.quick, module.EXPERIMENT
    return experiment.Result("ch5", module.__name__.split(".")[-1], plan.as_dict(), data, found.settings, records)


# frame


def test_registry_lists_the_files():
    assert experiment.experiments("ch5") == CHAPTER5
    for name in CHAPTER5:
        found = experiment.find("ch5", name)
        assert set(found.options) == set(found.full.options) == set(found.quick.options)
        assert found.quick.smoke and found.quick.data in (None, "digits"), "within the package's reach"
        for plan in (found.full, found.quick):
            for key, value in plan.options.items():
                found.options[key].check(key, value)
        json.dumps({"settings": dict(found.settings), "plan": found.full.as_dict()}, allow_nan=False)


@pytest.mark.parametrize("name", CHAPTER5)
def test_every_experiment_runs_and_shows_itself(name, tmp_path):
    pytest.importorskip("matplotlib")
    found = experiment.find("ch5", name)
    small = {
        "samples": 100,
        "effort": 0,
        "probe_samples": 60,
        "train_samples": 120,
        "test_samples": 60,
        "filter_batch": 100,
    }
    options = {key: small.get(key, value) for key, value in found.quick.options.items()}
    plan = replace(found.quick, trials=2, epochs=min(2, found.full.epochs), options=options, smoke=False)
    data = None if plan.data is None else overlapping()
    result = runner.run("ch5", name, plan, data, tmp_path)
    table = found.table(result)
    assert table.rows and all(len(row) == len(table.columns) for row in table.rows)
    pictures = list((tmp_path / "ch5" / name).glob("*.png"))
    assert pictures and all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    for claim in found.claims(result):
        print(claim)
    again = runner.run("ch5", name, replace(plan, trials=1), data, tmp_path / "again")
    for label in found.settings:
        one, two = result.of(label)[0], again.of(label)[0]
        assert {**one, "seconds": 0} == {**two, "seconds": 0}, "deterministic by seed"


# training


def test_an_observer_sees_the_network_before_training_and_after_every_epoch():
    model, data, seen = nn.Sequential(nn.Flatten(), nn.Linear(64, 4)), blobs(), []

    class Watch(train.Observer):
        def after_epoch(self, epoch):
            seen.append((epoch, model[1].weight.detach().clone()))

    first = model[1].weight.detach().clone()
    train.train(model, F.cross_entropy, data, train.Recipe(2, 0.1), seed=0, observer=Watch())
    assert [epoch for epoch, _ in seen] == [0, 1, 2]
    assert torch.equal(seen[0][1], first) and torch.equal(seen[2][1], model[1].weight)
    assert not torch.equal(seen[1][1], seen[2][1])


def test_the_recipe_names_the_optimizer():
    model = nn.Linear(2, 2)
    adam = train.make_optimizer(model, train.Recipe(1, 0.25, optimizer="adam", weight_decay=0.5))
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults["lr"], adam.defaults["weight_decay"], adam.defaults["betas"]) == (0.25, 0.5, (0.9, 0.999))
    sgd = train.make_optimizer(model, train.Recipe(1, 0.25, momentum=0.5))
    assert isinstance(sgd, torch.optim.SGD) and sgd.defaults["momentum"] == 0.5
    with pytest.raises(ValueError, match="optimizer: expected sgd or adam, got 'sg'"):
        train.make_optimizer(model, train.Recipe(1, 0.1, optimizer="sg"))
    history = train.train(
        nn.Sequential(nn.Flatten(), model := nn.Linear(64, 4)),
        F.cross_entropy,
        blobs(),
        train.Recipe(5, 0.01, optimizer="adam"),
        seed=0,
    )
    assert history.best_error < 5


def test_representations_are_those_of_the_modules():
    model = layers.mlp((1, 8, 8), (20, 10), 4)
    x = torch.randn(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    first, second, output = layers.representations(model, x)
    assert torch.equal(first, model[:3](x)) and torch.equal(second, model[:5](x)) and torch.equal(output, model(x))
    assert not any(module._forward_hooks for module in model.modules()) and model.training
    rectified = layers.representations(layers.mlp((1, 8, 8), (20,), 4, rectified=True), x)
    assert [z.shape[1] for z in rectified] == [20, 4] and float(rectified[1].min()) == 0


def test_representations_are_of_the_evaluation_mode():
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2))
    before = model[1].running_mean.clone()
    z = layers.representations(model, torch.randn(train.EVAL_BATCH + 7, 3))[0]
    assert len(z) == train.EVAL_BATCH + 7 and torch.equal(model[1].running_mean, before) and model[1].training


def test_parts_of_data_are_fixed():
    data = blobs()
    x, _ = layers.random_part(data.x_train, data.y_train, 50)
    assert len(x) == 50 and torch.equal(x, layers.random_part(data.x_train, data.y_train, 50)[0])
    assert len(layers.random_part(data.x_train, data.y_train, 10**6)[0]) == 200
    whole = trial({}, Plan(1, 1, options={**layers.WHOLE}))
    assert layers.part_of(whole) is whole.data
    part = layers.part_of(trial({}, Plan(1, 1, options={"train_samples": 30, "test_samples": None})))
    assert (len(part.x_train), len(part.x_test)) == (30, 100)


# points


def test_sinusoid_and_its_distance():
    x, y = points.sinusoid(500, 2.0, 0)
    assert x.shape == (500, 2) and float(x.abs().max()) <= 1
    assert torch.equal(y.bool(), x[:, 1] > 0.5 * torch.sin(2 * math.pi * x[:, 0]))
    on = torch.tensor([[0.125, 0.5 * math.sin(math.pi / 4)], [0.0, 0.0]])
    assert float(points.distance_to_sinusoid(on, 2.0).max()) < 1e-3
    assert float(points.distance_to_sinusoid(torch.tensor([[0.25, 0.9]]), 2.0)) == pytest.approx(0.4, abs=1e-3)


def test_checkerboard_colours():
    x, y = points.checkerboard(4000, 8, 0)
    assert float(x.min()) >= -0.5 and float(x.max()) <= 0.5 and 0.45 < float(y.float().mean()) < 0.55
    cell = ((x + 0.5) * 8).floor()
    assert torch.equal(y, (cell.sum(1) % 2).long())
    diagonal = points.distance_to_diagonals(torch.tensor([[0.2, 0.2], [0.2, -0.2], [0.3, 0.1], [0.0, 0.5]]))
    torch.testing.assert_close(diagonal, torch.tensor([0, 0, 0.2, 0.5]) / math.sqrt(2))


# Table 5.1


def test_kept_fractions_are_those_of_brute_force():
    data, plan = blobs(), Plan(1, 1, options={**layers.WHOLE, "filter_batch": 50, "width": 0.1})
    noisy = replace(data, y_train=torch.randint(0, 4, (200,), generator=torch.Generator().manual_seed(5)).sort().values)
    found = filtered.fractions(trial({"ks": [1, 2, 3]}, plan, data=noisy))
    x, y = noisy.x_train.flatten(1).double(), noisy.y_train
    distance = torch.cdist(x, x)
    for counting_self, name in ((False, "global"), (True, "global, self")):
        order = (distance + (0 if counting_self else torch.eye(200) * 1e9)).argsort(dim=1)
        for k, share in zip([1, 2, 3], found[name], strict=True):
            kept = (y[order[:, :k]] != y[:, None]).any(dim=1).double().mean()
            assert share == pytest.approx(float(kept), abs=1e-6)
    assert found["mini-batches"] != found["global"] and all(
        a <= b for a, b in zip(found["mini-batches, self"], found["mini-batches"], strict=True)
    )


def test_budgets_of_filtered_training():
    data = blobs()
    chosen = torch.arange(0, 200, 3)
    once, often = filtered.pick(data, chosen, len(chosen)), filtered.pick(data, chosen, 200)
    assert torch.equal(once.x_train, data.x_train[chosen]) and len(often.x_train) == 200
    counts = (often.x_train.flatten(1)[:, None] == data.x_train[chosen].flatten(1)[None]).all(2).sum(0)
    assert set(counts.tolist()) <= {2, 3} and torch.equal(often.x_test, data.x_test)

    plan = Plan(1, 1, options={**layers.WHOLE, "filter_batch": None, "width": 0.1})
    noisy = overlapping()
    run = {
        name: filtered.accuracy(trial({**filtered.RECIPE, "k": 10, **how}, plan, data=noisy))
        for name, how in {
            "filtered": {"budget": "epochs"},
            "updates": {"budget": "updates"},
            "random": {"budget": "epochs", "random": True},
        }.items()
    }
    kept = len(metrics.k_filter(noisy.x_train, noisy.y_train, 10)) / 200
    assert 0 < kept < 1 and [r["kept"] for r in run.values()] == [kept] * 3
    assert run["filtered"]["train_loss"] != run["random"]["train_loss"] != run["updates"]["train_loss"]


@pytest.mark.parametrize(("module", "ks"), [(table_5_1, [5, 10, 20, 24]), (table_5_1_fashion, [5, 10, 20, 42])])
def test_claims_on_filtered_data(module, ks):
    settings = module.EXPERIMENT.settings
    fractions_at = settings[filtered.KEPT]["ks"]
    assert [s["k"] for s in settings.values() if "k" in s] == [k for k in ks for _ in range(3)]
    shares = [module.THESIS[f"k={k}"][0] / 100 for k in fractions_at]
    kept = {way: shares for way in ("global", "global, self", "mini-batches, self")}
    runs = {filtered.KEPT: [{**kept, "mini-batches": [shares[0] + 0.05, *shares[1:]]}]}
    for label, setting in settings.items():
        if label != filtered.KEPT:
            worse = 1.0 if setting.get("k") == 5 else 0.1
            runs[label] = [{"test_error": [5.0, 2.0 + (worse if "k" in setting else 0)], "kept": 0.5}]
    told = {claim.text: claim for claim in module.EXPERIMENT.claims(made(module, runs))}
    by_k = [told[f"k={k}: kept in mini-batches, by the text's definition"].holds for k in fractions_at]
    assert by_k == [False] + [True] * (len(fractions_at) - 1)
    worse = told["k=5, equal epochs: points of accuracy to all samples (98.00 %)"]
    assert not worse.holds and worse.measured == "-1.00; a random part of the same size, equal updates, -1.00"
    assert told["k=10, equal updates: points of accuracy to all samples (98.00 %)"].holds


# layers


def test_lsd_of_the_layers():
    data = blobs()
    probe, _ = layers.watch(
        trial({"output": "softmax", "lr": 0.1, "batch_size": 20}, Plan(1, 8)),
        data,
        lambda: layers.mlp(data.sample_shape, lsd.HIDDEN, 4),
        lambda model: lsd.Probe(model, data, 200),
    )
    found = probe.distance
    assert [len(d) for d in found] == [9, 9, 9]
    z, y = layers.representations(probe.model, data.x_train)[2].double(), F.one_hot(data.y_train).double()
    residual = y - z @ torch.linalg.pinv(z) @ y
    assert found[2][-1] == pytest.approx(float(residual.square().sum() / 200), abs=1e-5)
    assert found[2][-1] < found[2][0]


def test_claims_on_lsd():
    good = {"distance": [[0.9, 0.3], [0.8, 0.2], [0.7, 0.1]], "test_error": [1.0], "pixels": 0.4}
    bad = {**good, "distance": [[0.9, 0.3], [0.8, 0.35], [0.1, 0.2]]}
    told = lsd.claims(made(lsd, {"squared error": [good], "softmax": [good, bad]}))
    assert [c.holds for c in told] == [True, True, False, False, False, False]


def test_conditional_entropy_probe():
    data = blobs()
    probe = conditional_entropy.Probe(layers.mlp(data.sample_shape, conditional_entropy.HIDDEN, 4), data, 200)
    probe.after_epoch(0)
    z = layers.representations(probe.model, probe.x)[0]
    entropies = []
    for column in z.T:
        share = torch.bincount(probe.y[column > 0], minlength=4).double()
        share = share[share > 0] / share.sum()
        entropies.append(float(-(share * share.log2()).sum()) if len(share) else math.nan)
    alive = [h for h in entropies if not math.isnan(h)]
    assert probe.entropy[0][0] == pytest.approx(sum(alive) / len(alive), abs=1e-4)
    assert probe.dead[0][0] == len(entropies) - len(alive)


def test_claims_on_conditional_entropy():
    fell = {"entropy": [[3.0, 2.5], [3.0, 2.0], [3.0, 1.0]]}
    rose = {"entropy": [[3.0, 2.5], [3.0, 3.1], [3.0, 1.0]]}
    told = conditional_entropy.claims(made(conditional_entropy, {"Adam": [fell], "SGD": [fell, rose]}))
    assert [c.holds for c in told] == [True, True, False, False]


def test_selections_count_classes():
    selected = torch.tensor([[True, False], [True, False], [False, False], [True, False]])
    y = torch.tensor([0, 2, 1, 2])
    assert selections.class_counts(selected, y, 3) == [[1, 0, 2], [0, 0, 0]]


def test_principal_components():
    z = torch.randn(300, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = z * torch.tensor([1.0, 9, 1, 4, 1])
    tall, share = pca_of_layers.components(z)
    centred = z - z.mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(tall.abs(), (u * s)[:, :2].abs())
    assert share == pytest.approx(float(s[:2].square().sum() / s.square().sum()))
    wide, wide_share = pca_of_layers.components(torch.cat([z, torch.zeros(300, 600, dtype=torch.float64)], 1))
    torch.testing.assert_close(wide.abs(), tall.abs())
    assert wide_share == pytest.approx(share)


def test_variance_between_classes():
    y = torch.tensor([0, 0, 1, 1])
    assert pca_of_layers.between_classes(torch.tensor([[0.0], [0.0], [2.0], [2.0]]), y) == pytest.approx(1)
    assert pca_of_layers.between_classes(torch.tensor([[0.0], [2.0], [0.0], [2.0]]), y) == pytest.approx(0)
    assert pca_of_layers.between_classes(torch.tensor([[0.0], [2.0], [2.0], [4.0]]), y) == pytest.approx(0.5)


def test_a_filter_that_leaves_nothing_is_told():
    plan = Plan(1, 1, options={**layers.WHOLE, "filter_batch": None, "width": 0.1})
    with pytest.raises(UserError, match="data: k-filtering with k = 5 keeps none of blobs"):
        filtered.accuracy(trial({**filtered.RECIPE, "k": 5, "budget": "epochs"}, plan))


def test_vgg_13_has_twelve_hidden_layers():
    model = k_redundancy_per_layer.vgg_13(3, 10, 0.03)
    shapes = [tuple(z.shape[1:]) for z in layers.representations(model, torch.zeros(2, 3, 32, 32))]
    assert len(shapes) == 13 and shapes[0] == (2, 32, 32) and shapes[9] == (15, 2, 2)
    assert shapes[10] == shapes[11] == (15,) and shapes[12] == (10,)


def test_redundancy_probe_looks_at_the_thesis_s_parts_of_the_run():
    data = blobs((1, 32, 32), 60, 40)
    probe = k_redundancy_per_layer.Probe(k_redundancy_per_layer.vgg_13(1, 4, 0.03), data, 28, 50)
    assert probe.epochs == [0, 4, 12, 20, 28]
    for epoch in range(6):
        probe.after_epoch(epoch)
    assert len(probe.redundancy["train"]) == 2 and len(probe.redundancy["test"][0]) == 13
    x, y = probe.parts["train"]
    assert probe.redundancy["train"][0][0] == pytest.approx(metrics.k_redundancy(x, y, (5, 10, 20)).tolist(), abs=1e-5)


# planes


def test_maps_are_compared_with_the_condensed_rule():
    found = pure_voronoi.run(trial(pure_voronoi.SETTINGS["frequency 1"], quick(pure_voronoi, samples=200)))
    assert found["pure"] and found["samples"] == 200
    assert len(found["places"]) == len(found["labels"]) == found["centroids"] < found["greedy_centroids"]
    assert 0 < found["entropy"] <= math.log2(found["centroids"]) + 1e-6
    assert pure_voronoi.count({"density": 0.25}, {"samples": 400}) == 100


def test_regions_of_a_map():
    regions = torch.tensor(
        pure_voronoi._regions({"places": [[-0.5, -0.5], [-0.5, 0.5], [0.5, 0.0]], "labels": [3, 4, 5]})
    )
    assert regions[0, 0] == 3 and regions[-1, 0] == 4 and regions[0, -1] == regions[-1, -1] == 5


def test_the_band_that_filtering_leaves():
    found = k_filter_toy.run(trial(k_filter_toy.SETTINGS["sinusoid"], quick(k_filter_toy, samples=800)))["rows"]
    assert [row["k"] for row in found] == list(k_filter_toy.KS)
    assert all(a["kept"] < b["kept"] for a, b in itertools.pairwise(found))
    assert all(row["kept_mean"] < row["all_mean"] and row["in_band"] > row["kept"] for row in found)


def test_checkerboard_batches_and_gradients():
    kept = torch.arange(7, 37)
    batches = checkerboard._batches(kept, 3, torch.Generator().manual_seed(0))
    drawn = torch.cat(batches)
    assert [len(b) for b in batches] == [100] * 3
    assert drawn.bincount(minlength=37)[:7].sum() == 0 and set(drawn.bincount()[7:].tolist()) == {10}

    model = layers.mlp((2,), (8,), 2).double()
    x, y = torch.randn(5, 2, dtype=torch.float64), torch.tensor([0, 1, 1, 0, 1])
    gradient, step = checkerboard.input_gradients(model, x, y), 1e-6
    for axis in (0, 1):
        moved = x.clone()
        moved[:, axis] += step
        change = F.cross_entropy(model(moved), y, reduction="none") - F.cross_entropy(model(x), y, reduction="none")
        torch.testing.assert_close(gradient[:, axis], change.detach() / step, rtol=1e-3, atol=1e-5)
    shares = checkerboard._on_diagonals(model, torch.tensor([[0.1, 0.1], [0.3, 0.0]]).double(), torch.tensor([0, 1]))
    assert shares["points"] == 0.5 and 0 < shares["square"] < 1


def test_claims_on_the_checkerboard():
    def raw(trained, all_points, square):
        return [
            {
                "accuracy": {"trained": [50.0, trained], "all": [50.0, all_points], "fresh": [50.0, 50.0]},
                "gradients": [{"epoch": 0, "points": 0.2, "square": square}],
                "kept": 10,
                "arrows": [],
            }
        ]

    runs = {
        label: raw(52.0, 52.0, 0.9) if label.endswith("all") else raw(99.0, 70.0, 0.2)
        for label in checkerboard.SETTINGS
    }
    told = {c.text: c for c in checkerboard.claims(made(checkerboard, runs))}
    assert all(c.holds for c in told.values()) and len(told) == 2 * len(checkerboard.SETTINGS) // 2 + 2
    runs["four layers, Adam, all"] = raw(96.0, 96.0, None)
    told = {c.text: c for c in checkerboard.claims(made(checkerboard, runs))}
    assert not told["four layers, Adam: stuck on all points"].holds


# plots


def test_scenes_and_bars_draw():
    pytest.importorskip("matplotlib")
    scene = plots.Scene([(0, 0), (1, 1)], [0, 1], [(0.5, 0.5)], [1], [[0, 1], [1, 0]], (-1, 1, -1, 1))
    field = plots.Scene([(0, 0), (1, 1)], [0, 1], arrows=[(1, 0), (0, 1)])
    for plot in (
        plots.scenes("a", "caption", {"map": scene, "field": field}, legend=["x", "y"]),
        plots.bars("b", "caption", {"one": [1, 2, 3], "two": [0, 0, 0]}, x="class", y="samples"),
    ):
        assert plot.png.startswith(b"\x89PNG") and plot.caption == "caption"

"""Chapter 3's experiments: networks side by side, the exchange of their weights, rates, claims.

Claims of the thesis print "thesis X, measured Y" (pytest -s).
"""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch

pytest.importorskip("tqdm")

from effdl_fast import ops
from effdl_fast.reproduce import experiment, plots, runner
from effdl_fast.reproduce.ch3 import bit_rate, fixed_bits, floor_and_range, gradient_and_entropy
from effdl_fast.reproduce.ch3.parts import exchange, training, views
from effdl_fast.reproduce.ch3.parts.networks import Networks
from effdl_fast.reproduce.train import cpu_threads

from ._reproduce import PLAN, blobs, trial

CHAPTER3 = ["bit_rate", "fixed_bits", "floor_and_range", "gradient_and_entropy"]
SIZES = (64, 20, 8, 4)
SMALL_PLAN = replace(PLAN, trials=1, epochs=2, options={**training.QUICK})


@pytest.fixture(autouse=True)
def one_thread():
    """The work is too small to share: on a busy machine, waiting for a second thread only slows it down."""
    with cpu_threads(1):
        yield


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.05


def test_registry_lists_the_files():
    assert experiment.experiments("ch3") == CHAPTER3
    for name in CHAPTER3:
        found = experiment.find("ch3", name)
        assert set(found.options) == set(found.full.options) == set(found.quick.options)
        for plan in (found.full, found.quick):
            for key, value in plan.options.items():
                found.options[key].check(key, value)
        json.dumps({"settings": dict(found.settings), "plan": found.full.as_dict()}, allow_nan=False)


# networks


def test_gradients_are_those_of_autograd():
    data, networks = training.prepare(trial(training.STANDARD, SMALL_PLAN)), Networks(SIZES, [0, 1, 2])
    x, target = data.x_train.double(), data.target.double()
    networks.weights = [w.double().requires_grad_() for w in networks.weights]
    networks.biases = [(b + 0.1).double() for b in networks.biases]

    def plain(x):  # forward works in place
        activations = x
        for w, b in zip(networks.weights, networks.biases, strict=True):
            activations = torch.tanh(activations @ w + b)
        return activations

    wanted = torch.autograd.grad(((plain(x) - target) ** 2).sum(2).mean(1).sum() / 2, networks.weights)
    networks.weights = [w.detach() for w in networks.weights]
    for found, gradient in zip(networks.gradients(x, target), wanted, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-12, atol=1e-15)


def test_an_epoch_is_sgd_and_networks_do_not_depend_on_their_company():
    data, lr = training.prepare(trial(training.STANDARD, SMALL_PLAN)), 0.1
    together, alone = Networks(SIZES, [3, 4]), Networks(SIZES, [4])
    initial = [w[1].clone() for w in together.weights]
    for networks in (together, alone):
        networks.train_epoch(data.x_train, data.target, lr, 64)
    for many, one in zip(together.weights + together.biases, alone.weights + alone.biases, strict=True):
        torch.testing.assert_close(many[1], one[0])
        assert not torch.equal(many[0], many[1])

    layers = [torch.nn.Linear(a, b) for a, b in itertools.pairwise(SIZES)]
    for layer, weight in zip(layers, initial, strict=True):
        layer.weight.data.copy_(weight.T)
        layer.bias.data.zero_()
    model = torch.nn.Sequential(*(part for layer in layers for part in (layer, torch.nn.Tanh())))
    optimizer, generator = torch.optim.SGD(model.parameters(), lr), torch.Generator().manual_seed(4)
    for a, b in itertools.pairwise(SIZES):
        torch.rand(a, b, generator=generator)  # the initialisation comes before the shuffles
    order = torch.randperm(200, generator=generator)
    for step in range(3):  # 200 samples: the last 8 are left out
        pick = order[64 * step : 64 * step + 64]
        optimizer.zero_grad()
        (((model(data.x_train[pick]) - data.target[pick]) ** 2).sum() / 2 / 64).backward()
        optimizer.step()
    for layer, weight, bias in zip(layers, alone.weights, alone.biases, strict=True):
        torch.testing.assert_close(weight[0], layer.weight.T.detach())
        torch.testing.assert_close(bias[0, 0], layer.bias.detach())


def test_initialisation_and_accuracy():
    networks = Networks((400, 300, 10), [0], scale=0.5)
    assert float(networks.weights[0].std()) == pytest.approx(0.5 / 20, rel=0.01)
    assert float(networks.weights[0].abs().max()) <= 0.5 * math.sqrt(3 / 400)
    x = gaussian(2500, 400)
    y = networks.forward(x[None])[-1][0].argmax(1)
    y[:500] = (y[:500] + 1) % 10
    assert networks.accuracy(x, y) == [80.0]


# exchange


@pytest.mark.parametrize("bits", [1, 2, 8, 9, 16])
def test_what_arrives_is_what_the_record_holds(bits):
    w = gaussian(64, 40)
    sent = exchange.send(w, bits)
    codes = ops.quantize(w, bits)
    assert torch.equal(sent.weights, ops.dequantize(codes)) and sent.bits == bits
    counts = torch.bincount(codes.codes.flatten().int())
    p = counts[counts > 0].double() / w.numel()
    entropy = float(-(p * p.log2()).sum())
    assert entropy - 1e-9 <= sent.huffman < entropy + 1
    assert sent.record == 8 * ops.compress_weights(w, bits=bits).numel() / w.numel() > min(sent.huffman, bits)


@pytest.mark.parametrize("bits", [1.5, 7.3, 15.9, 17, 20, 24])
def test_grids_that_the_ops_do_not_have(bits):
    w = gaussian(64, 40)
    sent = exchange.send(w, bits)
    levels = round(2**bits)
    step = float(w.double().max() - w.double().min()) / levels
    assert float((sent.weights - w).abs().max()) <= step / 2 + 2**-24 * float(w.abs().max())
    assert sent.bits == pytest.approx(bits, abs=0.2) and sent.record is None
    assert len(sent.weights.unique()) <= levels
    assert (sent.huffman is None) == (bits > 16)


def test_the_general_grid_is_the_ops_grid():
    w = gaussian(64, 40)
    ours, general = exchange.send(w, 8), exchange._send_on_any_grid(w, 256)
    assert general.huffman == pytest.approx(ours.huffman, abs=0.01)
    torch.testing.assert_close(general.weights, ours.weights, rtol=0, atol=float(w.max() - w.min()) / 256)
    same = (general.weights - ours.weights).abs() < 1e-6
    assert float(same.float().mean()) > 0.99, "but where float32's rounding moves a weight to the next bin"


@pytest.mark.parametrize("bits", [8, 7.3, 20])
def test_a_constant_layer_arrives(bits):
    assert torch.equal(exchange.send(torch.full((5, 6), 0.25), bits).weights, torch.full((5, 6), 0.25))


def test_readings_of_the_number_of_bits():
    generator = torch.Generator().manual_seed(0)
    even = torch.arange(16.0).repeat(10)  # 16 equally frequent codes: H = 4
    skewed = torch.tensor([0.0] * 9 + [15.0])  # H = 0.469

    def bits(w, rounding, floor=5, m=4):
        return exchange.bits_for(w, floor, m, rounding, 1.0, generator)

    assert [bits(even, rounding) for rounding in exchange.ROUNDINGS] == pytest.approx([9, 9, 9])
    assert [bits(skewed, rounding) for rounding in exchange.ROUNDINGS] == pytest.approx([6, 5, 5.469], abs=1e-3)
    assert bits(even, "ceil", m=0) == 5 and bits(even, "ceil", floor=14) == 16 and bits(skewed, "nearest", floor=0) == 1


# a trial


def test_training_exchanges_what_the_setting_says():
    seen = []

    def look(networks, samples):
        seen.append([len(w[0].unique()) for w in networks.weights])

    fixed = training.train(trial({**training.STANDARD, "bits": 3}, SMALL_PLAN), look)
    assert len(seen) == 2 and min(map(min, seen)) > 8, "the observer comes before the exchange"
    assert fixed["sizes"] == [64 * 392, 392 * 50, 50 * 4] and fixed["bits"] == [[3, 3]] * 3
    assert all(0 < rate <= 3 for layer in fixed["huffman"] for rate in layer)
    assert len(fixed["accuracy"]) == 2 and all(len(curve) == 2 for curve in fixed["accuracy"])

    plain = training.train(trial(training.STANDARD, SMALL_PLAN))
    assert set(plain) == {"accuracy", "sizes"}
    fine = training.train(trial({**training.STANDARD, "bits": 30}, SMALL_PLAN))
    assert fine["accuracy"] == plain["accuracy"] and set(fine) == {"accuracy", "sizes", "bits"}
    coarse = training.train(trial({**training.STANDARD, "bits": 1}, SMALL_PLAN))
    assert coarse["accuracy"] != plain["accuracy"], "training goes on from what arrived"

    dynamic = {**training.STANDARD, "floor": 5, "entropy_bits": 4, "rounding": "ceil"}
    chosen = training.train(trial(dynamic, SMALL_PLAN))
    assert all(5 < bits <= 9 for layer in chosen["bits"] for bits in layer)
    assert chosen == training.train(trial(dynamic, SMALL_PLAN)), "deterministic by seed"
    assert chosen["huffman"] != training.train(trial(dynamic, SMALL_PLAN, seed=1))["huffman"]


def test_exchange_replaces_the_weights():
    w = gaussian(64, 40)
    before = w.clone()
    training.exchange(w, {**training.STANDARD, "bits": 2}, torch.Generator())
    assert len(w.unique()) <= 4
    assert training.exchange(before, training.STANDARD, torch.Generator()) is None
    assert torch.equal(before, gaussian(64, 40))


def test_samples_targets_and_seeds():
    samples = training.prepare(trial(training.SMALL, SMALL_PLAN))
    assert (float(samples.x_train.min()), float(samples.x_train.max())) == (0, 1) and samples.x_train.shape == (200, 64)
    assert samples.target.sum(1).unique().tolist() == [-2] and torch.equal(samples.target.argmax(1), blobs().y_train)
    part = training.prepare(
        trial(training.STANDARD, replace(SMALL_PLAN, options={**training.QUICK, "train_samples": 50}))
    )
    assert part.x_train.shape == (50, 64) and part.x_test.shape == (100, 64)
    drawn = [seed for number in range(3) for seed in training.seeds(trial(training.STANDARD, SMALL_PLAN, number))]
    assert drawn == list(range(6))


# views and experiments


def made(name, settings, trials):
    """A result of `trials`: label -> list of raw results."""
    records = [
        {"setting": label, "seed": seed, "result": raw, "environment": {}}
        for label, runs in trials.items()
        for seed, raw in enumerate(runs)
    ]
    return experiment.Result("ch3", name, SMALL_PLAN.as_dict(), blobs().describe(), settings, records)


def test_rates_weigh_every_parameter_the_same():
    runs = [
        {"accuracy": [[1, 3, 2], [4, 4, 1]], "sizes": [90, 10], "bits": [[2, 4], [8, 8]]},
        {"accuracy": [[5, 6, 7]], "sizes": [90, 10], "bits": [[4, 6], [8, 8]]},
    ]
    result = made("x", {"a": {}}, {"a": runs})
    assert views.rates(result, "a", "bits") == pytest.approx([0.9 * 3 + 0.8, 0.9 * 5 + 0.8])
    assert views.mean_rate(result, "a", "bits") == pytest.approx(4.4)
    assert views.mean_layer_rate(result, "a", "bits") == pytest.approx(6)
    assert views.rates(result, "a", "huffman") is None and views.mean_rate(result, "a", "huffman") is None
    assert views.best(result, "a") == [3, 4, 7] and views.peaks(result, "a") == [2, 1, 3]
    assert views.last(result, "a") == [2, 1, 7]
    assert views.gain([2, 4], [1, 1]) == pytest.approx((2, 1)) and views.gain([2], [1]) == (1, 0)


def test_correlation():
    pearson, cosine = gradient_and_entropy.correlation([1, 2, 3], [3, 5, 7])
    assert pearson == 1 and cosine == pytest.approx(34 / math.sqrt(14 * 83), abs=1e-4)
    assert gradient_and_entropy.correlation([1, 2, 3], [3, 2, 1])[0] == -1
    assert gradient_and_entropy.correlation([1, 1], [0, 0]) == (0, 0)


def test_probe_measures_gradient_and_entropy():
    setting = training.STANDARD
    probe = gradient_and_entropy.Probe(trial(setting, SMALL_PLAN))
    networks, samples = Networks(SIZES, [0, 1]), training.prepare(trial(setting, SMALL_PLAN))
    probe(networks, samples)
    gradients = networks.gradients(samples.x_train, samples.target)
    assert probe.rms[0][2][1] == pytest.approx(float(gradients[2][1].square().mean().sqrt()))
    expected = float(ops.entropy(networks.weights[0][1], 6, 1.0))
    assert probe.entropy["M=6 F=1"][0][0][1] == expected
    assert probe.as_dict()["entropy"]["M=6 F=1"][0][0] == pytest.approx(
        (expected + probe.entropy["M=6 F=1"][0][0][0]) / 2, abs=1e-4
    )


@pytest.mark.parametrize("name", CHAPTER3)
def test_every_experiment_runs_and_shows_itself(name, tmp_path):
    pytest.importorskip("matplotlib")
    found = experiment.find("ch3", name)
    result = runner.run("ch3", name, SMALL_PLAN, blobs(), tmp_path)
    assert len(found.table(result).rows) >= len(found.settings)
    assert all(len(row) == len(found.table(result).columns) for row in found.table(result).rows)
    assert list((tmp_path / "ch3" / name).glob("figure_3_*.png"))
    for claim in found.claims(result):
        print(claim)


def test_claims_on_bit_rates():
    def raw(bits, huffman):
        return [{"accuracy": [[90.0]], "sizes": [10], "bits": [[bits]], "huffman": [[huffman]]}]

    rates = {label: raw(9.0, 8.0) for label in bit_rate.SETTINGS}
    rates["c=5 nearest"] = raw(6.9, 3.6)
    rates["c=6 ceil small start"] = raw(8.0, 3.9)
    told = {c.text: c for c in bit_rate.claims(made("bit_rate", bit_rate.SETTINGS, rates))}
    assert told["c=5 ceil: bits per weight, raw"].measured == "9.00 (3.56x)"
    assert not told["c=5 ceil: bits per weight, raw"].holds
    assert told["c=6 ceil small start: bits per weight, Huffman"].holds
    nearest = told["Rounding of N nearest to the thesis's rates, standard start"]
    assert nearest.measured == "c=5 nearest: 6.90 raw, 3.60 Huffman" and nearest.holds
    assert nearest.thesis == "6.80 raw, 3.55 Huffman"


def test_claims_on_floor_and_range():
    curves = {label: [[90.0, 95.0, 94.0, 94.0, 94.0]] * 2 for label in floor_and_range.SETTINGS}
    curves["baseline"] = [[90.0, 94.0, 94.0, 94.5, 95.0]] * 2
    curves["c=6 M=4"] = [[90.0, 94.0, 94.0, 95.5, 95.0]] * 2
    curves["c=5 M=4"] = [[90.0, 94.0, 94.9, 94.0, 94.0]] * 2
    trials = {label: [{"accuracy": curve, "sizes": [1]}] for label, curve in curves.items()}
    best, sweet, better, range4, all_faster, fewer = floor_and_range.claims(
        made("floor_and_range", floor_and_range.SETTINGS, trials)
    )
    assert best.holds and best.measured.startswith("c=6 M=4 (+0.50 ± 0.00 points to the baseline), 0 others")
    assert sweet.holds and better.holds and not range4.holds
    curves["c=7 M=3"] = [[90.0, 94.0, 94.0, 95.0, 95.6], [90.0, 94.0, 94.0, 95.0, 95.3]]
    trials["c=7 M=3"][0]["accuracy"] = curves["c=7 M=3"]
    tied = floor_and_range.claims(made("floor_and_range", floor_and_range.SETTINGS, trials))[0]
    assert not tied.holds and ", 1 others" in tied.measured, "a difference within the noise is none"
    assert all_faster.holds and fewer.measured == "20 % fewer (4.0 against 5.0)" and fewer.holds


def test_claims_on_fixed_bits():
    accuracy = {2: 50, 3: 80, 4: 90, 5: 94, 6: 94.95}
    trials = {
        fixed_bits.name(bits, start): [{"accuracy": [[accuracy.get(bits, 95.0)]], "sizes": [1]}]
        for start in training.STARTS
        for bits in (*fixed_bits.BITS, None)
    }
    eight, enough, more, fine = fixed_bits.claims(made("fixed_bits", fixed_bits.SETTINGS, trials))[:4]
    assert eight.holds and enough.holds and enough.measured.startswith("6:") and not more.holds and fine.holds


def test_spreads_draw_every_sample():
    pytest.importorskip("matplotlib")
    plot = plots.spreads("s", "c", {"p": {"8": [1.0, 2.0], "none": [3.0]}}, x="bits", y={"p": "%"})
    assert plot.png.startswith(b"\x89PNG")

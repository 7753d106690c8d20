"""LayerProbe: the numbers are those of the metrics on the layers' outputs, and the model does not notice."""

import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from effdl_fast.metrics import (
    LayerProbe,
    conditional_entropy,
    gradient_rms,
    k_redundancy,
    least_squares_distance,
    pure_entropy,
    representational_entropy,
    softmax_normaliser,
    stable_rank,
)

from ._probe import small_data, small_net

ALL = (
    "least_squares_distance",
    "k_redundancy",
    "conditional_entropy",
    "representational_entropy",
    "pure_entropy",
    "stable_rank",
    "numerical_rank",
    "gradient_rms",
    "softmax_normaliser",
)


@pytest.fixture
def data():
    return small_data()


@pytest.fixture
def net():
    return small_net()


def outputs(net, x):
    with torch.no_grad():
        first = net[0](x).relu()
        second = net[2](first).relu()
        return {"1": first, "3": second, "": net[4](second)}


def test_record_measures_every_layer(net, data):
    x, y = data
    with LayerProbe(net, ["1", "3", ""], metrics=ALL, k=(2, 5)) as probe:
        assert set(probe.layers) == {"1", "3", ""}
        nn.functional.cross_entropy(net(x), y).backward()
        rows = {row["layer"]: row for row in probe.record(3, x, y, batch_size=50)}
    for name, z in outputs(net, x).items():
        row = rows[name]
        assert row["epoch"] == 3
        assert row["least_squares_distance"] == pytest.approx(float(least_squares_distance(z, y)), rel=1e-5)
        assert row["conditional_entropy"] == pytest.approx(float(conditional_entropy(z, y).mean), rel=1e-5)
        assert row["representational_entropy"] == pytest.approx(float(representational_entropy(z)), rel=1e-5)
        assert row["pure_entropy"] == pytest.approx(float(pure_entropy(z, y)), rel=0.5)
        shares = k_redundancy(z, y, [2, 5]).tolist()
        assert [row["k_redundancy/2"], row["k_redundancy/5"]] == pytest.approx(shares, abs=0.02)
    assert rows[""]["softmax_normaliser/log_mean"] == pytest.approx(
        float(softmax_normaliser(outputs(net, x)[""]).log_mean), rel=1e-5
    )
    assert "softmax_normaliser/mean" in rows[""] and "softmax_normaliser/mean" not in rows["1"]
    assert {name for name, row in rows.items() if "stable_rank" in row} == {"0", "2", "4"}
    assert rows["2"]["stable_rank"] == pytest.approx(float(stable_rank(net[2].weight)))
    assert rows["4"]["gradient_rms"] == gradient_rms(net, by="module")["4"]
    assert probe.table() == list(rows.values())


def test_a_loader_is_read_as_far_as_needed(net, data):
    x, y = data
    drawn = []

    def loader():
        for part in torch.arange(120).split(25):
            drawn.append(len(part))
            yield x[part].numpy(), y[part]

    probe = LayerProbe(net, max_samples=60)
    probe.record(0, loader())
    assert drawn == [25, 25, 25]
    z = outputs(net, x[:60])["3"]
    found = probe.history.series("least_squares_distance")["3"]
    assert found == ([0], [pytest.approx(float(least_squares_distance(z, y[:60])), rel=1e-5)])
    assert probe.record(1, [((x,), y)]) == [{**row, "epoch": 1} for row in probe.record(0, [[x, y]])]
    assert LayerProbe(net).record(
        0, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), 64, shuffle=True)
    )


def test_of_many_samples_the_same_choice_is_taken_each_time(net, data):
    x, y = data
    first, again = LayerProbe(net, max_samples=40), LayerProbe(net, max_samples=40)
    assert first.record(0, x, y) == again.record(0, x.numpy(), y.numpy()) == first.record(0, x, y)
    assert first.record(0, x, y) != LayerProbe(net, max_samples=40, seed=1).record(0, x, y)


def test_of_many_units_the_same_choice_is_taken_each_time(data):
    x, y = data
    net = nn.Sequential(nn.Linear(6, 300), nn.ReLU())
    seen = []
    probe = LayerProbe(net, metrics=[lambda z, y: seen.append(z) or 0.0], max_features=50)
    probe.record(0, x, y, batch_size=31)
    probe.record(1, x, y)
    whole = net(x).detach()
    columns = [int((whole - column[:, None]).abs().sum(dim=0).argmin()) for column in seen[0].T]
    assert len(set(columns)) == 50 and columns == sorted(columns) and columns != list(range(50))
    torch.testing.assert_close(seen[1], whole[:, columns])
    torch.testing.assert_close(seen[0], seen[1])


# ---- training loops ----


def train(net, data, probe=None, steps=5):
    x, y = data
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for step in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x[step * 20 : step * 20 + 20]), y[step * 20 : step * 20 + 20]).backward()
        if probe is not None:
            probe.step(y[step * 20 : step * 20 + 20])
        optimizer.step()


def test_step_measures_the_batch_that_was_trained_on(net, data):
    x, y = data
    probe = LayerProbe(net, every=2, metrics=["least_squares_distance", "gradient_rms"])
    seen = outputs(net, x[:20])
    train(net, data, probe)
    assert probe.history.epochs == [0, 2, 4]
    rows = {row["layer"]: row for row in probe.table() if row["epoch"] == 0}
    for layer in ("1", "3"):
        expected = float(least_squares_distance(seen[layer], y[:20]))
        assert rows[layer]["least_squares_distance"] == pytest.approx(expected, rel=1e-5, abs=1e-9)
    assert rows["0"]["gradient_rms"] > 0
    net(x[:20])
    assert probe.step(y[:20]) is None
    net(x[:20])
    assert {row["epoch"] for row in probe.step(y[:20], epoch=0.5)} == {0.5}


def test_training_with_a_probe_is_training_without_one(data):
    def run(probing):
        torch.manual_seed(1)
        net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
        probe = LayerProbe(net, every=1, metrics=ALL, k=3) if probing else None
        for _ in range(2):
            train(net, data, probe)
            if probe:
                probe.record(0, *data, training=True)
                probe.record(1, *data)
        return [*net.state_dict().values(), torch.rand(3)]

    for plain, probed in zip(run(False), run(True), strict=True):
        assert torch.equal(plain, probed)


@pytest.mark.parametrize("training", [False, True])
def test_record_puts_modes_buffers_and_random_states_back(data, training):
    x, y = data
    net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3)).train()
    net[1].eval()
    modes = []
    net[3].register_forward_hook(lambda module, *_: modes.append(module.training))
    before = [v.clone() for v in net.state_dict().values()]
    states = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()

    def loader():
        random.random(), np.random.random(), torch.rand(1)
        yield x, y
        yield x[:, :2], y  # does not fit

    probe = LayerProbe(net)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        probe.record(0, loader(), training=training)
    assert modes == [training] and net.training and not net[1].training and net[3].training
    assert all(torch.equal(a, b) for a, b in zip(before, net.state_dict().values(), strict=True))
    assert torch.equal(states[0], torch.random.get_rng_state()) and states[1] == random.getstate()
    assert np.array_equal(states[2], np.random.get_state()[1])
    assert len(probe.history) == 0 and torch.is_grad_enabled()


def test_hooks_hold_nothing_between_measurements_and_go_on_close(net, data):
    x, y = data
    probe = LayerProbe(net)
    net(x)
    assert not probe._capture._outputs  # not armed without every
    probe.record(0, x, y)
    assert not probe._capture._outputs
    with LayerProbe(net, every=3) as stepping:
        net(x)
        assert stepping._capture._outputs
        stepping.step(y)
        assert not stepping._capture._outputs
        net(x)
        assert not stepping._capture._outputs
    probe.close()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert probe.table()
    with pytest.raises(RuntimeError, match="closed"):
        probe.record(0, x, y)
    with pytest.raises(RuntimeError, match="closed"):
        stepping.step(y)


def test_calls_without_the_model_do_not_fill_the_memory(net, data):
    x, y = data
    probe = LayerProbe(net, nn.Module, every=1)
    for _ in range(100):
        for module in net:
            module(x if module is net[0] else torch.ones(120, getattr(module, "in_features", 3)))
    kept = [len(outputs) for outputs in probe._capture._outputs.values()]
    assert max(kept) <= 64 and sum(kept) == 256 + 5
    net(x)  # begins anew
    assert [len(outputs) for outputs in probe._capture._outputs.values()] == [1] * 6
    assert {row["layer"] for row in probe.step(y)} == {"", "0", "1", "2", "3", "4"}


def test_of_many_calls_the_first_are_measured(data):
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.Tanh()

        def forward(self, x):
            for _ in range(70):
                x = self.act(x)
            return x

    rows = LayerProbe(Loop(), metrics=["conditional_entropy"]).record(0, *data, batch_size=50)
    assert [row["layer"] for row in rows] == ["act", *(f"act#{call}" for call in range(2, 65))]


# ---- models of all kinds ----


class Odd(nn.Module):
    """An activation called twice, one never, a layer with a tuple and one with a dictionary."""

    class Pair(nn.Module):
        def forward(self, x):
            return {"none": None, "some": (x * 2, x)}

    def __init__(self):
        super().__init__()
        self.a, self.b, self.act, self.never, self.pair = (
            nn.Linear(6, 5),
            nn.Linear(5, 5),
            nn.ReLU(),
            nn.ReLU(),
            Odd.Pair(),
        )

    def forward(self, x, scale=1.0):
        return self.pair(self.act(self.b(self.act(self.a(x)))) * scale)["some"][1]


def test_modules_called_twice_or_never_and_outputs_of_several_tensors(data):
    x, y = data
    net = Odd()
    probe = LayerProbe(net, [nn.ReLU, "pair"])
    assert probe.layers == ["act", "never", "pair"]
    rows = {row["layer"]: row for row in probe.record(0, [({"x": x, "scale": 3.0}, y)])}
    assert set(rows) == {"act", "act#2", "pair"}
    first = net.a(x).relu()
    second = net.b(first).relu()
    for name, z in {"act": first, "act#2": second, "pair": second}.items():
        assert rows[name]["least_squares_distance"] == pytest.approx(float(least_squares_distance(z, y)), rel=1e-5)


@pytest.mark.parametrize("wrap", ["data_parallel", "compiled before", "compiled in place", "both"])
def test_wrapped_models(net, data, wrap):
    x, y = data
    expected = LayerProbe(net).record(0, x, y)
    model = net
    if wrap == "compiled in place":
        net.compile(backend="eager")
    if wrap in ("data_parallel", "both"):
        model = nn.DataParallel(model)
    if wrap in ("compiled before", "both"):
        model = torch.compile(model, backend="eager")
    model(x)
    probe = LayerProbe(model)
    assert probe.layers == ["1", "3"]
    assert probe.record(0, x, y) == expected
    torch._dynamo.reset()


def test_a_model_that_is_compiled_after_the_probe_was_made(net, data):
    model = torch.compile(net, backend="eager")
    probe = LayerProbe(model, every=2)
    train(model, data, probe, steps=4)
    assert probe.history.epochs == [0, 2] and probe.history.layers == ["1", "3"]
    torch._dynamo.reset()


def test_ways_to_name_layers(net):
    def names(layers, model=net):
        with LayerProbe(model, layers) as probe:
            return probe.layers

    assert names(None) == ["1", "3"]
    assert names(None, nn.Sequential(nn.Flatten(), nn.Linear(3, 2))) == ["1"]
    assert names("3") == ["3"] and names(["3", "1"]) == ["1", "3"] and names("?") == ["0", "1", "2", "3", "4"]
    assert names(nn.Linear) == ["0", "2", "4"] and names([nn.Linear, "3"]) == ["0", "2", "3", "4"]
    assert names(net[2]) == ["2"] and names([net[2], net]) == ["", "2"]
    assert names(lambda name, module: name > "2") == ["3", "4"]
    for bad in ("5", nn.Conv2d, lambda *_: False, nn.ReLU()):
        with pytest.raises(ValueError, match="no module of model is"):
            names(bad)
    for bad in (3, [3], int):
        with pytest.raises(TypeError, match="layers must be"):
            names(bad)
    with pytest.raises(ValueError, match="must not be empty"):
        names([])
    with pytest.raises(ValueError, match="name its layers"):
        names(None, nn.Flatten())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_of_other_dtypes(net, data, dtype):
    x, y = data
    rows = LayerProbe(net.to(dtype)).record(0, x.to(dtype), y)
    assert len(rows) == 2 and all(math.isfinite(v) for row in rows for k, v in row.items() if k != "layer")


def test_diverged_layers_are_nan(net, data):
    x, y = data
    with torch.no_grad():
        net[2].weight.fill_(math.nan)
    rows = {row["layer"]: row for row in LayerProbe(net, metrics=ALL).record(0, x, y)}
    assert all(math.isfinite(v) for k, v in rows["1"].items() if k != "layer")
    assert all(math.isnan(v) for k, v in rows["3"].items() if k not in ("layer", "epoch"))
    assert math.isnan(rows["2"]["stable_rank"]) and math.isfinite(rows["0"]["stable_rank"])
    assert math.isnan(rows[""]["softmax_normaliser/mean"])


@pytest.mark.parametrize("value", ["coincide", 1e160])
def test_layers_without_a_pure_map_have_no_pure_entropy(data, value):
    x, y = data
    net = nn.Sequential(nn.Linear(6, 4), nn.ReLU()).double()
    with torch.no_grad():
        if value == "coincide":
            net[0].weight.zero_()
        else:
            net[0].weight.fill_(value)
    (row,) = LayerProbe(net, metrics=["pure_entropy", "conditional_entropy"]).record(0, x.double(), y)
    assert math.isnan(row["pure_entropy"]) and row["layer"] == "1"


class Counting(nn.Module):
    """Buffers that change in every forward pass, in evaluation mode too: in place, replaced, and new."""

    def __init__(self):
        super().__init__()
        self.register_buffer("n", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(3))
        self.register_buffer("nothing", None)
        self.register_buffer("expanded", torch.ones(1).expand(4))
        self.act = nn.ReLU()

    def forward(self, x):
        self.n += 1
        self.replaced = self.replaced + 1
        self.nothing = torch.ones(2)
        self.register_buffer("new", torch.ones(2))
        return self.act(x)


@pytest.mark.parametrize("training", [False, True])
def test_record_puts_all_buffers_back(data, training):
    net = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5)), Counting()).train()
    held = {name: (buffer, buffer.clone()) for name, buffer in net.named_buffers()}
    assert {"1.n", "1.replaced", "1.expanded"} < set(held) and any("_u" in name for name in held)
    probe = LayerProbe(net, metrics=["conditional_entropy", "stable_rank", "numerical_rank"])
    probe.record(0, *data, training=training)
    now = dict(net.named_buffers())
    assert set(now) == set(held) and net[1].nothing is None
    assert all(now[name] is buffer and torch.equal(buffer, value) for name, (buffer, value) in held.items())


def test_step_leaves_the_power_iteration_of_weights_alone(data):
    x, y = data
    net = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5)), nn.ReLU()).train()
    probe = LayerProbe(net, every=1, metrics=["stable_rank", "numerical_rank"])
    net(x)
    before = [buffer.clone() for buffer in net.buffers()]
    assert any("stable_rank" in row for row in probe.step(y)) and net[0].training
    assert all(torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True))


# ---- errors ----


def test_errors(net, data):
    x, y = data
    for call, message in [
        (lambda: LayerProbe(net, metrics=["lsd"]), "metrics must be among"),
        (lambda: LayerProbe(net, k=0), "k must be from 1"),
        (lambda: LayerProbe(net, metrics=[lambda z, y: 0, lambda z, y: 1]), "different names, got '<lambda>' twice"),
        (lambda: LayerProbe(net, metrics=["pure_entropy", pure_entropy]), "different names, got 'pure_entropy' twice"),
        (lambda: LayerProbe(net, every=1).step(y, epoch=math.inf), "epoch must be finite"),
        (lambda: LayerProbe(net, max_samples=0), "max_samples must be from 1"),
        (lambda: LayerProbe(net, max_features=0), "max_features must be from 1"),
        (lambda: LayerProbe(net, every=0), "every must be from 1"),
        (lambda: LayerProbe(net).record(0, x, y[:5]), "one label for each sample"),
        (lambda: LayerProbe(net).record(0, x, y.float()), "y must hold an integer label"),
        (lambda: LayerProbe(net).record(0, x[:0], y[:0]), "x holds no samples"),
        (lambda: LayerProbe(net).record(0, []), "x holds no samples"),
        (lambda: LayerProbe(net).record(0, [(x, y[:5])]), "layer '1' returned 120 rows for 5 labels"),
        (lambda: LayerProbe(net).record(math.nan, x, y), "epoch must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    for call, message in [
        (lambda: LayerProbe([net]), "model must be"),
        (lambda: LayerProbe(net, metrics="k_redundancy"), "metrics must be a sequence"),
        (lambda: LayerProbe(net, metrics=[3]), "metrics must be names or functions"),
        (lambda: LayerProbe(net).record(0, [x]), "must yield"),
        (lambda: LayerProbe(net, every=1).step(y, epoch="a"), "epoch must be a number"),
        (lambda: LayerProbe(net, k=2.5).record(0, x, y), "k must be"),
    ]:
        with pytest.raises(TypeError, match=message):
            call()
    with pytest.raises(RuntimeError, match="every="):
        LayerProbe(net).step(y)
    with pytest.raises(RuntimeError, match="no layer was called"):
        LayerProbe(net, every=1).step(y)
    probe = LayerProbe(net, every=1)
    net(x)
    probe.record(0, x, y)
    with pytest.raises(RuntimeError, match="record has measured since the last forward pass"):
        probe.step(y)
    net(x)
    assert probe.step(y)
    with pytest.raises(RuntimeError, match="no layer was called since the last step"):
        probe.step(y)
    net(x)
    with pytest.raises(ValueError, match="returned 120 rows for 7 labels"):
        probe.step(y[:7])

    class Sometimes(nn.Module):
        def __init__(self):
            super().__init__()
            self.act, self.calls = nn.ReLU(), 0

        def forward(self, x):
            self.calls += 1
            return self.act(x) if self.calls == 1 else x

    with pytest.raises(ValueError, match="layer 'act' is not called for all samples"):
        LayerProbe(Sometimes()).record(0, x, y, batch_size=60)


@pytest.mark.cuda
def test_models_on_a_gpu(net, data):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    x, y = data
    expected = LayerProbe(net, metrics=ALL).record(0, x, y)
    found = LayerProbe(net.cuda(), metrics=ALL).record(0, x, y)
    assert [row["layer"] for row in found] == [row["layer"] for row in expected]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine["layer"] == theirs["layer"]
        assert mine.get("least_squares_distance", 0) == pytest.approx(theirs.get("least_squares_distance", 0), rel=1e-3)


def test_the_compiler_is_imported_only_by_who_compiles():
    code = (
        "import sys, torch, effdl_fast as ef\n"
        "net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())\n"
        "ef.metrics.LayerProbe(net, every=1).record(0, torch.rand(4, 2), torch.arange(4) % 2)\n"
        "sys.exit('torch._dynamo' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

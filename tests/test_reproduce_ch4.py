"""Chapter 4's experiments: output layers, networks, probes, claims and the tables of the thesis.

Claims of the thesis print "thesis X, measured Y" (pytest -s).
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("tqdm")

from effdl_fast.reproduce import command, experiment, runner, train
from effdl_fast.reproduce.ch4 import curvature, table_4_1, ten_layer_cnn
from effdl_fast.reproduce.ch4.parts import classify, cnn, mlp, outputs, preset, probe, pyramidnet, vgg

from ._reproduce import PLAN, blobs, trial

OUTPUTS = {
    "softmax": {},
    "sigmoid": {},
    "tanh": {},
    "linear": {"target_value": 2.0, "negative_value": -1.0},
    "exp": {"alpha": 0.5, "target_value": 3.0},
    "pow3": {"alpha": 0.01, "beta": 0.4, "target_value": 10.0, "negative_value": -2.0},
}


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_learns(output):
    setting = {"output": output, "lr": 0.02, "batch_size": 20, **OUTPUTS[output]}
    history = classify.classify(trial(setting, replace(PLAN, epochs=10)), mlp.mlp)
    assert history.diverged is None and history.best_error < 5, history
    assert history.test_error[history.best_epoch - 1] == history.best_error


# chapter 4: outputs


@pytest.mark.parametrize("output", OUTPUTS)
def test_output_delta_is_y_minus_t(output):
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    target = torch.tensor([0, 1, 2, 3, 4, 0])
    given = OUTPUTS[output]
    onehot = F.one_hot(target, 5).double()
    low, high = given.get("negative_value", 0.0), given.get("target_value", 1.0)
    y, t = {
        "softmax": (x.softmax(1), onehot),
        "sigmoid": (x.sigmoid(), onehot),
        "tanh": (x.tanh(), 2 * onehot - 1),
        "linear": (x, low + (high - low) * onehot),
        "exp": (given.get("alpha", 1) * x.exp(), low + (high - low) * onehot),
        "pow3": (given.get("alpha", 1) * x**3 + given.get("beta", 0), low + (high - low) * onehot),
    }[output]
    torch.testing.assert_close(outputs.output_delta(outputs.make_loss(output, **given), x, target), y - t)


def test_unknown_output():
    with pytest.raises(ValueError, match="output: 'relu' is not one of softmax"):
        outputs.make_loss("relu")


# chapter 4: curvature


@pytest.mark.parametrize("t", [0.0, 1.0, 2.5])
def test_squared_error_curvature_against_autograd(t):
    s = 7.0
    activations = {
        "linear": lambda x: x,
        "softmax": lambda x: x.exp() / s,
        "exp-GA": torch.exp,
        "pow3-GA": lambda x: x**3,
    }
    for label, activation in activations.items():
        for value in (-2.0, -0.3, 0.0, 1.0, 3.0):
            x = torch.tensor(value, dtype=torch.float64)
            exact = torch.func.hessian(lambda x, f=activation: 0.5 * (f(x) - t) ** 2)(x).detach()
            assert curvature.SQUARED[label](value, t, s) == pytest.approx(float(exact), rel=1e-12, abs=1e-12)


def test_amplified_curvature_against_autograd_of_the_losses():
    target = torch.tensor([0])
    given = {"linear": {}, "exp-GA": {"alpha": 1.0}, "pow3-GA": {"alpha": 1.0}}
    others = torch.tensor([0.4, -1.0, 0.7], dtype=torch.float64)
    for value in (-1.5, 0.2, 2.0):
        for label, settings in given.items():
            x = torch.tensor([[value, 0.1]], dtype=torch.float64)
            loss = outputs.make_loss(label.removesuffix("-GA"), **settings)
            step = 1e-5
            delta = [float(outputs.output_delta(loss, x + e * torch.eye(2)[:1], target)[0, 0]) for e in (step, -step)]
            slope = (delta[0] - delta[1]) / (2 * step)
            assert curvature.AMPLIFIED[label](value, 1.0, 1.0) == pytest.approx(slope, rel=1e-6, abs=1e-6)
        s = float(others.exp().sum())

        def cross_entropy(x):
            return F.cross_entropy(torch.cat([x[None], others])[None], target)

        exact = torch.func.hessian(cross_entropy)(torch.tensor(value, dtype=torch.float64))
        assert curvature.cross_entropy_softmax(value, 1.0, s) == pytest.approx(float(exact), rel=1e-9)


def test_curvature_claims_are_reported(tmp_path):
    result = runner.run("ch4", "curvature", curvature.EXPERIMENT.quick, None, tmp_path)
    for claim in curvature.claims(result):
        print(claim)
    texts = [str(claim) for claim in curvature.claims(result)]
    assert "thesis pow3 larger as x goes to either infinity, measured for x below -0.4" in texts[0]
    assert "at most 0.25" in texts[3]


# chapter 4: networks


def count(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(
    ("depth", "widening", "parameters"), [(110, 48, 1_772_706), (110, 84, 3_904_446), (110, 270, 28_485_477)]
)
def test_pyramidnet_size(depth, widening, parameters):
    """Han et al. (2017), table 4: 1.7M, 3.8M and 28.3M; the exact counts are those of their published code."""
    assert count(pyramidnet.pyramidnet(3, 10, depth, widening)) == parameters


@pytest.mark.parametrize("depth", [56, 110])
def test_pyramidnet_layers_and_widths(depth):
    model = pyramidnet.pyramidnet(3, 10, depth)
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(layers) == depth
    plan = pyramidnet.channel_plan(depth, 48)
    assert len(plan) == (depth - 2) // 2 and plan[-1] == 16 + 48 and plan == sorted(plan)
    assert all(abs(width - (16 + 48 * k / len(plan))) <= 0.5 for k, width in enumerate(plan, 1))
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_pyramidnet_shortcut_is_the_padded_identity():
    block = pyramidnet.Block(3, 5, 2)
    torch.nn.init.zeros_(block.residual[-1].weight)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    out = block(x)
    torch.testing.assert_close(out[:, :3], F.avg_pool2d(x, 2))
    assert bool((out[:, 3:] == 0).all())


@pytest.mark.parametrize("depth", [55, 7, 0])
def test_pyramidnet_depth_is_checked(depth):
    with pytest.raises(ValueError, match="depth: a PyramidNet of basic blocks has 6n"):
        pyramidnet.pyramidnet(3, 10, depth)


@pytest.mark.parametrize(("depth", "convolutions"), [(13, 10), (19, 16)])
def test_vgg_convolutions(depth, convolutions):
    model = vgg.vgg(3, 10, depth)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in model.modules()) == convolutions
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    with pytest.raises(ValueError, match="VGG-13 and VGG-19"):
        vgg.vgg(3, 10, 16)


@pytest.mark.parametrize(("make", "layers"), [(cnn.five_layer_cnn, 5), (cnn.ten_layer_cnn, 10)])
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (1, 9, 8)])
def test_cnn_layers(make, layers, shape):
    model = make(shape, 10, 0.125)
    assert sum(isinstance(m, (torch.nn.Conv2d, torch.nn.Linear)) for m in model.modules()) == layers
    assert model(torch.zeros(2, *shape)).shape == (2, 10)
    with pytest.raises(ValueError, match="needs images"):
        make((17,), 10)


def test_mlp_is_that_of_the_table():
    sizes = [m.out_features for m in mlp.mlp((1, 28, 28), 10).modules() if isinstance(m, torch.nn.Linear)]
    assert sizes == [392, 50, 10]


# Tables 4.2, 4.3 and 4.4 as printed: network, output, top-1 error %, learning rate, weight decay, targets of the
# negative and the positive class, alpha, beta. None: no such entry.
PRINTED = {
    "table_4_2": """
        VGG-13 softmax          5.68  0.05  0.0005     0   1  None    None
        VGG-13 exp-GA           5.61  0.01  0.03       0   2  0.5     None
        VGG-13 pow3-GA          5.55  0.1   0.003      0   2  0.001   0
        VGG-13 linear           5.47  0.01  0.03      -1   1  None    None
        VGG-19 softmax          6.05  0.05  0.0005     0   1  None    None
        VGG-19 exp-GA           5.82  0.01  0.03       0   2  0.5     None
        VGG-19 pow3-GA          5.93  0.07  0.0003     0   2  0.001   0
        VGG-19 linear           5.79  0.01  0.03      -1   1  None    None""",
    "table_4_3": """
        PyramidNet-55 softmax   6.02  0.1   0.0001     0   1  None    None
        PyramidNet-55 exp-GA    5.51  0.4   unprinted  0   2  1.0     None
        PyramidNet-55 pow3-GA   5.66  7.5   0.000003  -1   1  0.0007  0
        PyramidNet-110 softmax  4.98  0.1   0.0001     0   1  None    None
        PyramidNet-110 exp-GA   4.67  0.2   0.0001     0   3  0.5     None
        PyramidNet-110 pow3-GA  4.71  5.0   0.000003  -1   1  0.0007  0""",
    "table_4_4": """
        PyramidNet-55 softmax   25.23 0.5   0.0001     0   1  None    None
        PyramidNet-55 exp-GA    29.17 0.3   0.00005    0   2  1.0     None
        PyramidNet-55 pow3-GA   24.21 20.0  0.000001  -1   1  0.001   0
        PyramidNet-110 softmax  21.70 0.5   0.0001     0   1  None    None
        PyramidNet-110 exp-GA   25.51 0.3   0.00005    0   2  0.5     None
        PyramidNet-110 pow3-GA  21.41 16.0  0.000001  -1   1  0.001   0""",
}


@pytest.mark.parametrize("name", PRINTED)
def test_presets_are_the_tables(name):
    found = experiment.find("ch4", name)
    rows = [line.split() for line in PRINTED[name].strip().splitlines()]
    assert [f"{row[0]} {row[1]}" for row in rows] == list(found.settings)
    shown = found.table(preset_result(found)).rows
    outputs_of = {"softmax": "softmax", "exp-GA": "exp", "pow3-GA": "pow3", "linear": "linear"}
    for (network, output, error, lr, decay, low, high, alpha, beta), setting, row in zip(
        rows, found.settings.values(), shown, strict=True
    ):
        assert setting["network"] == network.lower().replace("-55", "-56") and setting["output"] == outputs_of[output]
        assert setting["lr"] == float(lr) and row[2] == float(error)
        assert setting["weight_decay"] == (0.0001 if decay == "unprinted" else float(decay))
        assert (setting.get("negative_value", 0), setting.get("target_value", 1)) == (float(low), float(high))
        assert setting.get("alpha") == (None if alpha == "None" else float(alpha))
        assert setting.get("beta") == (None if beta == "None" else float(beta))
        assert (setting["momentum"], setting["milestones"], setting["augment"]) == (0.9, [150, 225], True)
    assert (found.full.trials, found.full.epochs) == (8 if name == "table_4_2" else 1, 300)


def preset_result(found):
    raw = {"best_error": 1.0, "best_epoch": 1, "diverged": None}
    trials = [{"setting": label, "seed": 0, "result": raw, "environment": {}} for label in found.settings]
    return experiment.Result("ch4", "t", found.full.as_dict(), None, found.settings, trials)


def test_preset_pads_images():
    padded = preset.pad_images(blobs((1, 8, 8)))
    assert padded.sample_shape == (1, 32, 32) and padded.x_train[:, :, 12:20, 12:20].equal(blobs((1, 8, 8)).x_train)
    with pytest.raises(ValueError, match="at most 32x32"):
        preset.pad_images(blobs((1, 33, 33)))


def test_preset_trains_two_steps():
    found = experiment.find("ch4", "table_4_3")
    setting = found.settings["PyramidNet-55 exp-GA"]
    result = found.run(trial(setting, found.quick, data=blobs((3, 8, 8))))
    assert len(result["test_error"]) == 1


# chapter 4: what is looked at inside a run


def test_probe_records_per_sample_gradients():
    watch = probe.GradientProbe()
    model = watch.watch(torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(72, 4)))
    data = blobs((1, 8, 8), train_samples=20)
    recipe = train.Recipe(epochs=1, lr=0.0, batch_size=20)
    train.train(model, F.cross_entropy, data, recipe, seed=0, observer=watch)
    inner = model[0](data.x_train).detach().requires_grad_()
    logits = model[2](inner.flatten(1))
    (delta,) = torch.autograd.grad(F.cross_entropy(logits, data.y_train, reduction="sum"), inner)
    found = watch.as_dict()
    assert found["rms"]["conv 1"][0] == pytest.approx(float(delta.square().mean().sqrt()), rel=1e-4)
    y = logits.softmax(1) - F.one_hot(data.y_train, 4)
    assert found["rms"]["output"][0] == pytest.approx(float(y.detach().square().mean().sqrt()), rel=1e-4)
    assert found["s_first"]["mean"] == pytest.approx(float(logits.exp().sum(1).mean()), rel=1e-4)
    assert sum(found["histograms"]["1"]["counts"]) == 80


def test_amplified_gradients_reach_the_hidden_layers(tmp_path):
    """Sec. 4.10, Fig. 4.3: hidden-layer gradients of GA are several times those of softmax."""
    options = {"width": 0.125, "train_samples": None, "test_samples": None}
    plan = experiment.Plan(trials=1, epochs=2, data="blobs", options=options)
    result = runner.run("ch4", "ten_layer_cnn", plan, blobs((1, 8, 8)), tmp_path)
    claims = {claim.text: claim for claim in ten_layer_cnn.claims(result)}
    for claim in claims.values():
        print(claim)
    for label in ten_layer_cnn.AMPLIFIED:
        measured = claims[f"Hidden-layer RMS gradients of {label}, relative to softmax"].measured
        assert float(measured.split()[0]) > 3
    names = {path.name for path in (tmp_path / "ch4" / "ten_layer_cnn").glob("*.png")}
    assert names == {"figure_4_1b.png", "figure_4_2.png", "figure_4_3.png", "figure_4_5.png"}


def test_table_4_1_claims_come_from_the_medians():
    def record(label, seed):
        error, epoch = {"sigmoid": (2.0, 40), "tanh": (1.9, 50), "linear": (1.5, 30), "softmax": (2.5, 10)}.get(
            label, (1.8, 20)
        )
        return {"setting": label, "seed": seed, "result": {"best_error": error + seed, "best_epoch": epoch}}

    trials = [record(label, seed) for label in table_4_1.SETTINGS for seed in (0, 1, 2)]
    result = experiment.Result("ch4", "table_4_1", PLAN.as_dict(), None, table_4_1.SETTINGS, trials)
    sooner, errs, poorly = table_4_1.claims(result)
    assert str(sooner).endswith("thesis by about 25 %, measured by 25 % (agrees)")
    assert errs.measured == "2.50 against 3.00 %" and errs.holds
    assert poorly.measured == "3.50 %, the best is linear with 2.50 %" and poorly.holds
    for epoch, told in (
        (30, "by 25 %"),
        (40, "by 0 %"),
        (40.1, "by 0 %"),
        (50, "25 % later"),
        (0, "not all of them train"),
    ):
        for record in (t for t in trials if t["setting"] == "linear"):
            record["result"]["best_epoch"] = epoch
        claim = table_4_1.claims(result)[0]
        assert claim.measured == told and claim.holds == (epoch == 30)


def test_smoke_runs_are_not_compared_with_the_thesis():
    found = table_4_1.EXPERIMENT
    result = experiment.Result("ch4", "table_4_1", found.quick.as_dict(), blobs().describe(), {}, [])
    assert found.is_smoke(result) and not found.is_smoke(replace(result, plan=found.full.as_dict()))
    changed = command.make_plan(found, command.Overrides(quick=True, epochs=50, trials=7))
    assert found.is_smoke(replace(result, plan=changed.as_dict()))
    curve = curvature.EXPERIMENT
    assert not curve.is_smoke(replace(result, plan=curve.quick.as_dict())), "its quick plan is the full one"

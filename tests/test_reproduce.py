"""The frame of `effdl reproduce`: registry, plans, running, storing, training, the page."""

from __future__ import annotations

import json
import math
import subprocess
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("tqdm")

import effdl_fast
from effdl_fast.errors import UserError
from effdl_fast.reproduce import command, environment, experiment, plots, report, runner, store, train
from effdl_fast.reproduce.ch4 import curvature, table_4_1
from effdl_fast.reproduce.ch4.parts import classify, mlp

from ._reproduce import PLAN, blobs, trial

CHAPTER4 = ["curvature", "five_layer_cnn", "table_4_1", "table_4_2", "table_4_3", "table_4_4", "ten_layer_cnn"]


# registry


def test_registry_lists_the_files():
    assert experiment.experiments("ch4") == CHAPTER4
    for name in CHAPTER4:
        found = experiment.find("ch4", name)
        assert (
            found.settings
            and found.full.epochs >= found.quick.epochs
            and set(found.quick.options) <= set(found.full.options)
            and set(found.options) == set(found.full.options)
        )
        for plan in (found.full, found.quick):
            for key, value in plan.options.items():
                found.options[key].check(key, value)
        json.dumps({"settings": dict(found.settings), "plan": found.full.as_dict()}, allow_nan=False)


def test_registry_refuses_unknown_names():
    with pytest.raises(ValueError, match="'ch0' has no experiments"):
        experiment.find("ch0", "x")
    with pytest.raises(ValueError, match=r"'\.\./cli'"):
        experiment.find("ch4", "../cli")


# running, storing, resuming


def test_run_writes_json_png_html(tmp_path):
    result = runner.run("ch4", "table_4_1", PLAN, blobs(), tmp_path)
    folder = tmp_path / "ch4" / "table_4_1"
    stored = json.loads((folder / "result.json").read_text())
    assert stored["settings"] == dict(table_4_1.SETTINGS) and stored["plan"]["epochs"] == 3
    assert stored["data"]["name"] == "blobs" and len(stored["trials"]) == 2 * len(table_4_1.SETTINGS)
    for record in stored["trials"]:
        assert len(record["result"]["test_error"]) == 3 and {"commit", "cpu", "torch", "date"} <= set(
            record["environment"]
        )
    assert (folder / "error.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "ch4" / "index.html").read_text()
    for text in ("Output activations on MNIST", "epochs: 3 instead of 100", "98.50", "data:image/png;base64,"):
        assert text in page
    assert "<script" not in page and 'src="http' not in page and 'href="http' not in page
    assert runner.load_result(folder / "result.json").of("linear") == result.of("linear")


def test_interrupted_run_resumes_without_repeating(tmp_path, monkeypatch):
    ran = []
    original = table_4_1.EXPERIMENT

    def stops_at_fourth(t):
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append((t.setting["output"], t.seed))
        return original.run(t)

    monkeypatch.setattr(table_4_1, "EXPERIMENT", replace(original, run=stops_at_fourth))
    with pytest.raises(KeyboardInterrupt):
        runner.run("ch4", "table_4_1", PLAN, blobs(), tmp_path)
    files = sorted((tmp_path / "ch4" / "table_4_1" / "trials").iterdir())
    before = {path: path.read_bytes() for path in files}
    assert len(files) == 3 and not (tmp_path / "ch4" / "table_4_1" / "result.json").exists()

    def counts(t):
        ran.append((t.setting["output"], t.seed))
        return original.run(t)

    monkeypatch.setattr(table_4_1, "EXPERIMENT", replace(original, run=counts))
    progress = []
    result = runner.run("ch4", "table_4_1", PLAN, blobs(), tmp_path, progress=lambda n, text: progress.append(n))
    assert len(ran) == len(set(ran)) == 2 * len(table_4_1.SETTINGS), "no trial ran twice, none was left out"
    assert all(path.read_bytes() == content for path, content in before.items())
    assert sum(progress) == runner.total_epochs("ch4", "table_4_1", PLAN)
    assert len(result.of("softmax")) == 2


def test_changed_plan_is_not_mixed_with_stored_trials(monkeypatch):
    data, cpu = blobs(), torch.device("cpu")

    def digest(lr=1, plan=PLAN, data=data, seed=0, device=cpu):
        return runner.digest("a", {"lr": lr}, plan, data.describe(), seed, device)

    assert digest() == digest(plan=replace(PLAN, trials=9)) == digest(plan=replace(PLAN, smoke=True))
    negative = replace(data, x_test=-data.x_test)
    others = [
        digest(lr=2),
        digest(plan=replace(PLAN, epochs=4)),
        digest(plan=replace(PLAN, options={"train_samples": 5})),
        digest(data=data.subset(100, 50)),
        digest(data=negative),
        digest(seed=1),
        digest(device=torch.device("cuda")),
    ]
    old = digest()
    monkeypatch.setattr(effdl_fast, "__version__", "0.0.0")
    assert len({old, digest(), *others}) == 9


def test_files_are_atomic_and_strict(tmp_path):
    path = tmp_path / "deep" / "a.json"
    store.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        store.write_json(path, {"a": math.nan})
    assert store.read_json(path) == {"a": 1} and list(path.parent.iterdir()) == [path]
    path.write_text("{")
    with pytest.raises(ValueError, match=r"a\.json: damaged result file"):
        store.read_json(path)
    path.write_text('{"a": 1}')
    with pytest.raises(UserError, match=r"a\.json: not a result"):
        runner.load_result(path)


@pytest.mark.parametrize("content", ["[]", "{}", "null", '{"setting": "linear", "seed": 0, "result": 1}'])
def test_a_trial_file_with_other_content_is_named(tmp_path, content):
    runner.run("ch4", "table_4_1", replace(PLAN, trials=1, epochs=1), blobs(), tmp_path)
    (path,) = (tmp_path / "ch4" / "table_4_1" / "trials").glob("linear-s0-*.json")
    path.write_text(content)
    with pytest.raises(UserError, match=rf"{path.name}: not a trial of linear with seed 0"):
        runner.run("ch4", "table_4_1", replace(PLAN, trials=1, epochs=1), blobs(), tmp_path)


def test_a_place_without_room_for_results_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(UserError, match="is a file"):
            store.require_folder(path)
    store.require_folder(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()


def test_commit_is_that_of_our_own_tree_only(tmp_path, monkeypatch):
    monkeypatch.delenv("EFFDL_COMMIT", raising=False)
    package = tmp_path / "effdl_fast"
    package.mkdir()
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(tmp_path)]
    (tmp_path / "file").write_text("a")
    for arguments in (["init", "-q"], ["add", "file"], ["commit", "-q", "-m", "first"]):
        if subprocess.run([*git, *arguments], capture_output=True).returncode:
            pytest.skip("no usable git")
    assert environment.commit(package) is None, "a repository that happens to hold an installed package"
    (tmp_path / "csrc").mkdir()
    (tmp_path / "csrc" / "module.cpp").write_text("")
    clean = environment.commit(package)
    assert clean and not clean.endswith("-dirty")
    (tmp_path / "file").write_text("b")
    assert environment.commit(package) == f"{clean}-dirty"
    monkeypatch.setenv("EFFDL_COMMIT", "told")
    assert environment.commit(package) == "told"


def test_every_environment_of_the_trials_is_told(tmp_path):
    result = runner.run("ch4", "table_4_1", replace(PLAN, epochs=1), blobs(), tmp_path)
    assert {t["environment"]["threads"] for t in result.trials} == {1}, "as in the trial, not as outside of it"
    assert len(runner.measured_on(result.trials)) == 1
    result.trials[3]["environment"] = {**result.trials[3]["environment"], "commit": "another", "load": 99.0}
    lines = runner.measured_on(result.trials)
    assert len(lines) == 2 and "commit another" in lines[1] and lines[1].startswith("Measured in 1 trial")


def test_plan_overrides():
    found = experiment.find("ch4", "ten_layer_cnn")
    plan = command.make_plan(found, command.Overrides(epochs=2, data="x.npz", options={"width": 0.5}))
    assert (plan.trials, plan.epochs, plan.data, plan.options["width"]) == (1, 2, "x.npz", 0.5)
    assert command.make_plan(found, command.Overrides(quick=True)) == found.quick
    assert command.make_plan(curvature.EXPERIMENT, command.Overrides(data="x.npz")).data is None
    smoke = command.make_plan(found, command.Overrides(quick=True, epochs=9, trials=2, options={"width": 1.0}))
    assert smoke.smoke and not plan.smoke
    assert command.parse_options(["a=1", "b=null", "c=text", "d=x=y"]) == {"a": 1, "b": None, "c": "text", "d": "x=y"}


@pytest.mark.parametrize(
    ("name", "pair", "message"),
    [
        ("curvature", "points=1", "points must be a whole number from 2 to 100000; got 1"),
        ("curvature", "limit=1000", "limit must be a number from 0.1 to 100; got 1000"),
        ("curvature", "limit=NaN", "limit must be a number"),
        (
            "table_4_1",
            "train_samples=-1500",
            "train_samples must be a whole number from 1 to 1e.09, or null; got -1500",
        ),
        ("table_4_1", "train_samples=true", "train_samples must be a whole number"),
        ("five_layer_cnn", "width=abc", "width must be a number from 0.01 to 16; got 'abc'"),
        ("table_4_3", "batch_size=0", "batch_size must be"),
    ],
)
def test_options_are_checked(name, pair, message):
    with pytest.raises(UserError, match=f"--set: {message}"):
        command.make_plan(experiment.find("ch4", name), command.Overrides(options=command.parse_options([pair])))


def test_stored_plans_hold_no_paths():
    assert replace(PLAN, data="/private/folder/x.npz").as_dict()["data"] == "x.npz"
    assert replace(PLAN, data="torchvision:MNIST").as_dict()["data"] == "torchvision:MNIST"


def test_reductions_are_said():
    result = experiment.Result("ch4", "t", PLAN.as_dict(), blobs().describe(), {}, [])
    notes = table_4_1.EXPERIMENT.reductions(result)
    assert notes[:2] == ["trials: 2 instead of 20", "epochs: 3 instead of 100"] and notes[2].startswith(
        "data: blobs (200"
    )


# training


def test_training_is_deterministic_by_seed_and_leaves_global_state():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    setting = table_4_1.SETTINGS["exp-GA"]
    one, two, other = (table_4_1.run(trial(setting, PLAN, seed)) for seed in (0, 0, 1))
    assert one["train_loss"] == two["train_loss"] != other["train_loss"]
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_divergence_is_recorded():
    history = classify.classify(trial({"output": "pow3", "lr": 1e4}, PLAN), mlp.mlp)
    assert history.diverged == 1 and history.test_error == [] and history.best_error == 100 and history.best_epoch == 0
    json.dumps(history.as_dict(), allow_nan=False)


RECIPE = train.Recipe(
    epochs=3, lr=0.1, batch_size=64, momentum=0.9, nesterov=True, weight_decay=0.01, milestones=(1, 2), augment=True
)


def trained_weight(recipe):
    model = train.build(lambda: torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)), 0).double()
    data = blobs()
    data = replace(data, x_train=data.x_train.double(), x_test=data.x_test.double())
    train.train(model, F.cross_entropy, data, recipe, seed=5)
    return model[1].weight.detach()


def test_training_is_sgd_with_momentum_schedule_and_augmentation():
    """Against the update rule written out; the last, incomplete mini-batch is left out."""
    data, model = blobs(), train.build(lambda: torch.nn.Linear(64, 4), 0).double()
    parameters, generator = list(model.parameters()), torch.Generator().manual_seed(5)
    velocity = [torch.zeros_like(p) for p in parameters]
    for lr in (0.1, 0.01, 0.001):
        order = torch.randperm(200, generator=generator)
        for step in range(3):
            pick = order[step * 64 : step * 64 + 64]
            x = train.crop_and_flip(data.x_train[pick], generator).double().flatten(1)
            gradients = torch.autograd.grad(F.cross_entropy(model(x), data.y_train[pick]), parameters)
            with torch.no_grad():
                for p, g, v in zip(parameters, gradients, velocity, strict=True):
                    decayed = g + 0.01 * p
                    v.mul_(0.9).add_(decayed)
                    p.sub_(lr * (decayed + 0.9 * v))
    torch.testing.assert_close(trained_weight(RECIPE), model.weight.detach())


@pytest.mark.parametrize(
    "change", [{"milestones": ()}, {"momentum": 0.0, "nesterov": False}, {"nesterov": False}, {"weight_decay": 0.0},
               {"augment": False}, {"batch_size": 32}], ids=str
)  # fmt: skip
def test_every_part_of_a_recipe_matters(change):
    assert not torch.allclose(trained_weight(RECIPE), trained_weight(replace(RECIPE, **change)), rtol=1e-3)


def test_crop_and_flip_keeps_pixels_aligned():
    x = torch.arange(1.0, 65).reshape(1, 1, 8, 8).repeat(300, 3, 1, 1)
    out = train.crop_and_flip(x, torch.Generator().manual_seed(0))
    assert out.shape == x.shape and torch.equal(out[:, 0], out[:, 2])
    padded = F.pad(x[:1], [4] * 4)
    windows = padded.unfold(2, 8, 1).unfold(3, 8, 1)[0, 0].reshape(-1, 8, 8)
    windows = torch.cat([windows, windows.flip(2)])
    matches = (out[:, None, 0] == windows[None]).all((2, 3)).any(1)
    assert bool(matches.all()) and len(torch.unique(out[:, 0], dim=0)) > 80


# report


def test_page_escapes_and_aligns():
    table = report.Table(["a<b", "n"], [["x & y", 1.25], ["z", None]], "caption <i>")
    page = report.page("T<t>", "intro", [report.Section("S&", [table, report.Text("<b>")])])
    for text in (
        "a&lt;b",
        "x &amp; y",
        "caption &lt;i&gt;",
        "T&lt;t&gt;",
        "S&amp;",
        "&lt;b&gt;",
        '<td class="number">1.25',
    ):
        assert text in page
    assert table.to_csv() == "a<b,n\nx & y,1.25\nz,\n"
    assert table.to_text().splitlines() == ["a<b       n", "-----  ----", "x & y  1.25", "z"]


def test_plots_leave_matplotlib_alone():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    plot = plots.curves("c", "caption", {"p": {"softmax": ([1, 2], [3.0, 4.0])}}, x="x", y="y")
    dots = plots.dots("b", "caption", {"g": {"ours": 1.0, "eager": 2.0}, "h": {"ours": 1.0}}, x="x", line=1.0)
    assert plot.png.startswith(b"\x89PNG") and dots.png.startswith(b"\x89PNG") and pyplot.get_fignums() == before

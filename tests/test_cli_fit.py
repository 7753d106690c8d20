"""`effdl fit`: what it fits, writes and prints, and mistakes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("tqdm")
np = pytest.importorskip("numpy")
typer_testing = pytest.importorskip("typer.testing")

from effdl_fast import cli, data, files
from effdl_fast.fit import command
from effdl_fast.fit.standardisation import Standardisation
from effdl_fast.solvers import ELM, PlatonicMLP

runner = typer_testing.CliRunner()
PAGE = Path(__file__).resolve().parents[1] / "docs" / "fit.md"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def blobs(folder):
    """set.npz: three clouds, features of very different scales, one of them constant."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    x = (3 * rng.normal(size=(3, 6))[y] + rng.normal(size=(400, 6))) * [1, 5, 20, 1, 1, 0] + [0, 0, 50, 0, 0, 7]
    arrays = {"x_train": x[:300], "y_train": y[:300], "x_test": x[300:], "y_test": y[300:]}
    np.savez("set.npz", **arrays)
    return arrays


def run(*arguments):
    result = runner.invoke(cli.app, ["fit", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments, capsys):
    assert cli.main(["fit", *arguments]) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("effdl: ")
    return line


def test_digits_by_the_defaults(folder):
    pytest.importorskip("sklearn")
    output = run("digits")
    assert "digits: 1,437 training and 360 test samples, 64 features, 10 classes" in output
    train, test = map(float, re.search(r"([\d.]+)% of the training samples, ([\d.]+)% of the test", output).groups())
    assert train > 99 and test > 94
    rows = [line.split() for line in output.splitlines() if line.startswith(("input", "hidden"))]
    assert [row[-6] for row in rows] == ["64", "784", "392"]
    assert float(rows[0][-5]) > float(rows[1][-5]) > float(rows[2][-5]), "the LSD falls from layer to layer"
    model, loaded = PlatonicMLP.load("model.safetensors"), data.load("digits")
    assert f"{model.score(loaded.x_test, loaded.y_test):.2%} of the test samples" in output
    assert model.get_params() == {
        **PlatonicMLP().get_params(), "hidden": (784, 392), "projection": "pca", "first": "sorted_pca", "ema": 0.2,
        "l2": 0.03, "task": "classification", "track_accuracy": True}  # fmt: skip
    assert [p.name for p in folder.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize("arguments", [
    ["--hidden", "12,8"],
    ["--hidden", "12,8", "--projection", "random", "--first", "none", "--tries", "4", "--dtype", "float64"],
    ["--hidden", "20", "--elm"],
    ["--hidden", "none"],
    ["--hidden", "none", "--elm", "--dtype", "float64"],
    ["--hidden", "9", "--activation", "tanh", "--solver", "pinv", "--projection", "random"],
])  # fmt: skip
def test_the_file_is_the_network_of_standardised_samples(blobs, arguments):
    told = json.loads(run("set.npz", *arguments, "--json", "--device", "cpu"))
    cls = ELM if "--elm" in arguments else PlatonicMLP
    saved, loaded = cls.load("model.safetensors"), data.load("set.npz")
    assert told["model"] == cls.__name__ and told["standardised"] is True and told["file"] == "model.safetensors"
    assert saved.dtype is (torch.float64 if "float64" in arguments else None)

    change = Standardisation.of(loaded.x_train)
    inside = cls(**saved.get_params()).fit(change.apply(loaded.x_train), loaded.y_train)
    expected = inside.decision_function(change.apply(loaded.x_test))
    tolerance = 1e-5 if saved.dtype is torch.float64 else 2e-2  # of float32 there are the samples themselves
    assert torch.allclose(saved.decision_function(loaded.x_test), expected, rtol=tolerance, atol=tolerance)

    for part in ("train", "test"):
        score = saved.score(getattr(loaded, f"x_{part}"), getattr(loaded, f"y_{part}"))
        assert told[f"{part}_accuracy"] == pytest.approx(score) and score > 0.75
    widths = [6, *(w.shape[1] for w in saved.layers_.weights)]
    assert [record["width"] for record in told["history"]] == (widths[-1:] if cls is ELM else widths)
    assert all(record["seconds"] >= 0 and 0 <= record["accuracy"] <= 1 for record in told["history"])
    assert sum(record["seconds"] for record in told["history"]) <= told["seconds"]
    assert told["parameters"]["hidden"] == list(saved.hidden)


def test_standardisation_is_that_of_the_thesis():
    """(x - mean) / (std + 0.01) of pixels from 0 to 1, whatever the loader has done to them; test samples by those."""
    x = torch.rand(500, 4, dtype=torch.float64) * torch.tensor([1.0, 0.1, 0.003, 0.0])
    x[0, 0], x[1, 0] = 0, 1
    expected = (x - x.mean(0)) / (x.std(0, unbiased=False) + 0.01)
    for scale, shift in ((1, 0), (16, 0), (255, 0), (3.25, -0.4)):
        found = Standardisation.of(x * scale + shift).apply(x * scale + shift)
        assert torch.allclose(found, expected, atol=1e-9)
    same = torch.full((5, 3), 7.0)
    assert torch.equal(Standardisation.of(same).apply(same), torch.zeros(5, 3)), "nothing is divided by zero"


def test_an_elm_has_one_least_squares_problem(blobs):
    """Its hidden layers are drawn, nothing is solved for them."""
    output = run("set.npz", "--hidden", "9,8", "--elm")
    rows = [line.split() for line in output.splitlines() if line.startswith(("input", "hidden"))]
    assert len(rows) == 1 and rows[0][:3] == ["hidden", "2", "8"]
    assert "ELM of 170 parameters" in output
    assert command.layers(command.make_model({"hidden": "9,8"}, elm=True)) == 1


def test_no_standardisation(blobs):
    told = json.loads(run("set.npz", "--hidden", "10", "--no-standardize", "--json"))
    saved, loaded = PlatonicMLP.load("model.safetensors"), data.load("set.npz")
    again = PlatonicMLP(**saved.get_params()).fit(loaded.x_train, loaded.y_train)
    assert told["standardised"] is False
    assert torch.equal(saved.decision_function(loaded.x_test), again.decision_function(loaded.x_test))
    assert "part of its first layer" not in run("set.npz", "--hidden", "10", "--no-standardize", "--force")
    assert "part of its first layer" in run("set.npz", "--hidden", "10", "--force")


def test_every_option_arrives(blobs):
    run("set.npz", "--hidden", "7, 5", "--activation", "celu", "--projection", "random", "--first", "none", "--solver",
        "lstsq", "--alpha", "0.5", "--beta", "3", "--tries", "2", "--dtype", "float64", "--seed", "9",
        "--out", "deep/er/m")  # fmt: skip
    assert PlatonicMLP.load("deep/er/m").get_params() == {
        "hidden": (7, 5), "activation": "celu", "projection": "random", "first": None, "solver": "lstsq", "alpha": 0.5,
        "beta": 3.0, "l2": 0.03, "tries": 2, "ema": None, "mixing": 3.0, "atol": None, "task": "classification",
        "track_accuracy": True, "dtype": torch.float64, "device": None, "seed": 9}  # fmt: skip
    run("set.npz", "--hidden", "7", "--ema", "0.5", "--mixing", "0", "--l2", "loo", "--out", "m")
    model = PlatonicMLP.load("m")
    assert (model.ema, model.mixing, model.l2, model.first) == (0.5, 0.0, "loo", "sorted_pca")
    run("set.npz", "--hidden", "7", "--ema", "none", "--out", "m", "--force")
    assert PlatonicMLP.load("m").ema is None
    drawn = [json.loads(run("set.npz", "--hidden", "7", "--elm", "--seed", seed, "--force", "--json")) for seed in "12"]
    one, two = (told["history"][0]["lsd"] for told in drawn)
    assert one != two


def test_the_history_in_json_is_that_of_the_file(blobs):
    told = json.loads(run("set.npz", "--hidden", "6", "--json"))
    history = PlatonicMLP.load("model.safetensors").history_
    for shown, record in zip(told["history"], history, strict=True):
        condition = record.condition if np.isfinite(record.condition) else None
        assert {k: v for k, v in shown.items() if k != "seconds"} == {**record._asdict(), "condition": condition}
    assert told["data"]["labels_crc32"] == data.load("set.npz").describe()["labels_crc32"]
    assert {"torch", "cpu", "threads"} <= set(told["environment"])


def test_features_far_from_zero(folder):
    """Values of float64 that are all the same in float32."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    x = rng.normal(size=(300, 4)) + 4 * y[:, None] + 1e8
    np.savez("set.npz", x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
    assert json.loads(run("set.npz", "--hidden", "none", "--json"))["test_accuracy"] > 0.95


def test_a_class_that_only_the_test_samples_have(blobs):
    np.savez("set.npz", **blobs | {"y_test": blobs["y_test"] * 0 + 3, "classes": np.array(list("abcd"))})
    assert "0.00% of the test samples" in run("set.npz", "--hidden", "6")


def test_images(folder):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (80, 5, 4, 3)).astype(np.uint8), rng.integers(0, 2, 80)
    np.savez("set.npz", x_train=x[:60], y_train=y[:60], x_test=x[60:], y_test=y[60:])
    assert "60 training and 20 test samples, 60 features, 2 classes" in run("set.npz", "--hidden", "4")
    loaded = data.load("set.npz")
    assert PlatonicMLP.load("model.safetensors").predict(loaded.x_test).shape == (20,)


def test_progress_has_a_step_for_every_representation(blobs):
    seen, model = [], command.make_model({"hidden": "9,5,4"}, elm=False)
    fitted = command.run(data.load("set.npz"), model, torch.device("cpu"), standardise=True, progress=seen.append)
    assert [record.width for record in seen] == [6, 9, 5, 4] and len(seen) == command.layers(model)
    assert seen == model.history_ and len(fitted.layer_seconds) == 4

    class Bar:
        steps, text = 0, ""

        def update(self, n):
            self.steps += n

        def set_postfix_str(self, text, refresh):
            self.text = text

    command.advance(bar := Bar())(seen[1])
    assert bar.steps == 1 and re.fullmatch(r"width 9, LSD [\d.]+, [\d.]+%", bar.text)


def test_an_existing_file_is_replaced_only_with_force(blobs, folder, capsys):
    run("set.npz", "--hidden", "4")
    assert "--out: model.safetensors exists; --force replaces it" in refused("set.npz", "--hidden", "5", capsys=capsys)
    assert PlatonicMLP.load("model.safetensors").hidden == (4,)
    run("set.npz", "--hidden", "5", "--force")
    assert PlatonicMLP.load("model.safetensors").hidden == (5,)
    assert sorted(p.name for p in folder.iterdir()) == ["model.safetensors", "set.npz"]


def test_an_interrupt_leaves_no_file(blobs, folder, monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    for where, name in ((PlatonicMLP, "fit"), (files.AtomicFile, "commit")):
        with monkeypatch.context() as patch:
            patch.setattr(where, name, interrupted)
            assert cli.main(["fit", "set.npz", "--hidden", "4"]) == cli.INTERRUPTED
        assert "effdl: interrupted" in capsys.readouterr().err
        assert [p.name for p in folder.iterdir()] == ["set.npz"]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c(blobs, folder):
    """A real one, in the midst of a deep fit."""
    deep = ",".join(["40"] * 16000)
    program = "import sys; from effdl_fast.cli import main; print('go', flush=True); sys.exit(main(sys.argv[1:]))"
    command_line = [sys.executable, "-c", program, "fit", "set.npz", "--hidden", deep, "--projection", "random",
                    "--activation", "tanh"]  # fmt: skip
    started = subprocess.Popen(
        command_line,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    lines = []
    while not any("training" in line for line in lines):
        lines.append(started.stdout.readline())
        assert lines[-1], started.stderr.read()
    time.sleep(0.3)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode == cli.INTERRUPTED and "effdl: interrupted" in errors and "Traceback" not in errors
    assert [p.name for p in folder.iterdir()] == ["set.npz"]


@pytest.mark.parametrize(("arguments", "message"), [
    (["--hidden", "a"], "--hidden: expected widths such as 784,392, or none, got 'a'"),
    (["--hidden", "5,,6"], "--hidden: expected widths"),
    (["--hidden", "0"], "hidden must be"),
    (["--activation", "rely"], "activation must be one of identity, relu"),
    (["--projection", "svd"], "projection must be one of 'random', 'pca', got 'svd'"),
    (["--first", "pca"], "first must be one of None, 'sorted_pca', got 'pca'"),
    (["--solver", "qr"], "solver must be one of 'ridge', 'lstsq', 'pinv'"),
    (["--l2", "-1"], "l2 must be at least 0"),
    (["--l2", "cv"], "--l2: expected a number, gcv or loo, got 'cv'"),
    (["--l2", "nan"], "--l2: expected a finite number, got nan"),
    (["--alpha", "inf"], "--alpha: expected a finite number, got inf"),
    (["--ema", "2"], "ema must be from 0 to 1"),
    (["--ema", "some"], "--ema: expected a number or none, got 'some'"),
    (["--mixing", "-1"], "mixing"),
    (["--tries", "0"], "tries"),
    (["--dtype", "float16"], "--dtype: expected float32 or float64, got 'float16'"),
    (["--elm", "--beta", "3"], "--beta: an ELM has random weights and no such option"),
    (["--elm", "--first", "none"], "--first: an ELM has random weights"),
    (["--projection", "random", "--ema", "0.2"], "--ema: --projection random has no use for it"),
    (["--projection", "random", "--mixing", "1"], "--mixing: --projection random has no use for it"),
    (["--tries", "5"], "--tries: --projection pca has no use for it"),
    (["--hidden", "40,45", "--mixing", "0"], "layer 2: Platonic PCA gives 44 units at most"),
    (["--solver", "pinv", "--l2", "5"], "--l2: --solver pinv has no use for it"),
    (["--elm", "--solver", "lstsq", "--l2", "gcv"], "--l2: --solver lstsq has no use for it"),
    (["--hidden", "none", "--first", "sorted_pca"], "--first: --hidden none has no use for it"),
    (["--hidden", "none", "--elm", "--activation", "tanh"], "--activation: --hidden none has no use for it"),
    (["--device", "tpu"], "--device"),
    (["--out", "set.npz"], "--out: set.npz exists; --force replaces it"),
    (["--out", "set.npz/model"], "set.npz is a file"),
    (["--out", "."], "--out: . is no file"),
    (["--seed", "-1"], "seed"),
])  # fmt: skip
def test_mistakes_are_one_line(blobs, folder, arguments, message, capsys):
    assert message in refused("set.npz", *arguments, capsys=capsys)
    assert [p.name for p in folder.iterdir()] == ["set.npz"]


@pytest.mark.parametrize(("source", "message"), [
    ("absent.npz", "data: there is no file absent.npz"),
    ("nonsense", "data: 'nonsense' is not known"),
])  # fmt: skip
def test_unknown_data(source, message, capsys):
    assert message in refused(source, capsys=capsys)


def test_a_file_that_cannot_be_written(blobs, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "write_bytes", full)
    assert "--out: m cannot be written (No space left" in refused(
        "set.npz", "--hidden", "3", "--out", "m", capsys=capsys
    )


def test_values_too_large_are_told(folder, capsys):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    np.savez("set.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    message = refused("set.npz", "--hidden", "5,5", "--projection", "random", "--alpha", "1e38", capsys=capsys)
    assert re.search(r"layer \d: NaN or infinity; smaller alpha", message)
    assert not (folder / "model.safetensors").exists()


@pytest.mark.skipif(not PAGE.is_file(), reason="the tests run without the source tree")
def test_the_page_about_it():
    """docs/fit.md: its example runs, and it has every option."""
    pytest.importorskip("sklearn")
    text = PAGE.read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    run("digits", "--hidden", "100,50")
    names: dict = {}
    exec(example, names)
    assert names["accuracy"] > 0.9 and names["labels"].dtype is torch.int64
    outputs = names["module"](names["digits"].x_test.flatten(1))
    assert torch.equal(outputs.argmax(1), names["labels"])

    import typer

    options = typer.main.get_command(cli.app).commands["fit"].params[1:]
    for option in (name for o in options for name in o.opts):
        assert f"`{option}`" in text, f"docs/fit.md does not name {option}"
    header = re.search(r"^layer .*$", text, re.M).group().split()
    assert header == command.table(_fitted()).to_text().splitlines()[0].split()


def _fitted():
    x, y = np.eye(4).repeat(3, 0), np.arange(12) % 2
    return command.run(data.make_dataset("tiny", x, y, x, y), command.make_model({"hidden": "3"}, elm=False),
                       torch.device("cpu"), standardise=True)  # fmt: skip

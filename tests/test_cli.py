"""The `effdl` command: what each command prints, and exit codes as a shell sees them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import types

import pytest
import torch

pytest.importorskip("tqdm")
typer_testing = pytest.importorskip("typer.testing")

import effdl_fast
from effdl_fast import cli

runner = typer_testing.CliRunner()


def shell(*arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "effdl_fast.cli", *arguments], capture_output=True, text=True, timeout=120, **more
    )


def test_help_names_the_commands():
    result = runner.invoke(cli.app, ["--help"])
    assert result.exit_code == 0
    for command in ("info", "demo", "bench", "reproduce", "compress", "decompress", "inspect", "filter"):
        assert command in result.output
    assert runner.invoke(cli.app, []).output == result.output


def test_version():
    assert runner.invoke(cli.app, ["--version"]).output.strip() == f"effdl {effdl_fast.__version__}"


def test_info_as_json_and_text():
    facts = json.loads(runner.invoke(cli.app, ["info", "--json"]).output)
    assert facts["effdl_fast"] == effdl_fast.__version__ and facts["torch"] == torch.__version__
    assert facts["simd_level"] in facts["simd_levels_built"] and isinstance(facts["cuda_built"], bool)
    assert facts["threads"] == torch.get_num_threads()
    assert f"simd level          {facts['simd_level']}" in runner.invoke(cli.app, ["info"]).output


def test_simd_level_follows_the_environment():
    done = shell("info", "--json", env={**os.environ, "EFFDL_SIMD": "scalar"})
    assert json.loads(done.stdout)["simd_level"] == "scalar"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["info", "--nonsense"], "No such option"),
        (["demo", "--seeds", "0"], "seeds"),
        (["demo", "--data", "absent.npz", "--no-bench"], "data: there is no file absent.npz"),
        (["demo", "--data", "nonsense", "--no-bench"], "data: 'nonsense' is not known"),
        (["reproduce", "ch99"], "chapter: 'ch99' has no experiments; there are ch"),
        (["reproduce", "ch4", "nonsense"], "experiment: ch4 has no 'nonsense'; there are curvature"),
        (["reproduce", "ch4", "curvature", "--set", "width"], "--set: expected KEY=VALUE, got 'width'"),
        (["reproduce", "ch4", "curvature", "--set", "depth=3"], "has no option depth; its options: points, limit"),
        (["reproduce", "ch4", "curvature", "--set", "points=1"], "points must be a whole number from 2"),
        (["bench", "nonsense"], "bench: no benchmark of 'nonsense'"),
        (["reproduce", "ch4", "curvature", "--device", "tpu"], "--device: 'tpu' is no torch device"),
        (["reproduce", "ch4", "curvature", "--device", "cuda:99"], "--device: there is no cuda:99"),
    ],
)
def test_user_errors_are_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == cli.USER_ERROR
    printed = capsys.readouterr()
    lines = printed.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("effdl: ") and message in lines[0], printed.err
    assert list(tmp_path.iterdir()) == []


def test_exit_codes_in_a_shell():
    wrong = shell("reproduce", "ch99")
    assert wrong.returncode == 2 and "Traceback" not in wrong.stderr and wrong.stderr.count("\n") == 1
    assert "Traceback" in shell("reproduce", "ch99", env={**os.environ, "EFFDL_DEBUG": "1"}).stderr


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, TypeError, OSError, ImportError, KeyError])
def test_defects_are_not_hidden(monkeypatch, kind):
    def broken():
        raise kind("a defect")

    monkeypatch.setattr(cli, "collect_info", broken)
    with pytest.raises(kind, match="a defect"):
        cli.main(["info"])


@pytest.mark.parametrize("command", [["demo", "--no-bench"], ["bench"], ["reproduce", "ch4", "table_4_1"]])
def test_a_file_where_results_should_go_is_said_before_the_work(command, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    from effdl_fast import data

    monkeypatch.setattr(data, "load", lambda *a, **k: pytest.fail("data were loaded"))
    (tmp_path / "file").write_text("kept")
    assert cli.main([*command, "--out", str(tmp_path / "file")]) == cli.USER_ERROR
    assert "is a file" in capsys.readouterr().err and (tmp_path / "file").read_text() == "kept"


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_interrupt_exits_with_130_and_keeps_finished_trials(tmp_path):
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "effdl_fast.cli", "reproduce", "ch4", "table_4_1", "--quick"),
            *("--epochs", "20", "--trials", "500", "--out", str(tmp_path)),
        ],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    trials = tmp_path / "ch4" / "table_4_1" / "trials"
    deadline = time.monotonic() + 90
    while not (trials.is_dir() and len(list(trials.glob("*.json"))) >= 2) and time.monotonic() < deadline:
        time.sleep(0.1)
    finished = len(list(trials.glob("*.json"))) if trials.is_dir() else 0
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "interrupted" in errors
    stored = list(trials.glob("*.json"))
    assert 2 <= finished <= len(stored), f"{finished} trials before the interrupt, {len(stored)} after it"
    assert all(json.loads(path.read_text())["result"] for path in stored)
    assert not list(trials.glob(".*")), "no temporary file is left"


def test_bench_delegates_to_the_harness(monkeypatch, tmp_path):
    calls = []
    harness = types.SimpleNamespace(main=lambda *arguments, **more: calls.append((*arguments, more)) or 3)
    monkeypatch.setattr(cli, "find_harness", lambda: harness)
    assert cli.main(["bench", "exp_ga_loss", "--quick", "--out", str(tmp_path), "--plot"]) == 3
    assert cli.main(["bench", "--strict"]) == 3
    assert calls == [
        ("exp_ga_loss", True, tmp_path, True, {"strict": False}),
        (None, False, None, False, {"strict": True}),
    ]


def test_reproduce_list_names_every_experiment():
    output = runner.invoke(cli.app, ["reproduce", "--list"]).output
    for name in (
        "ch4",
        "table_4_1",
        "five_layer_cnn",
        "ten_layer_cnn",
        "curvature",
        "table_4_2",
        "table_4_3",
        "table_4_4",
    ):
        assert name in output

"""`effdl demo`: a tiny run writes the page and the CSV files with every row it should have."""

from __future__ import annotations

import csv
import types
from dataclasses import replace

import pytest
import torch

for _package in ("matplotlib", "sklearn", "tqdm", "typer"):
    pytest.importorskip(_package)

from effdl_fast import cli, data, demo

ROWS = [
    {"op": "exp_ga_loss", "case": case, "what": what, "role": {"eager": "peer", "compile": "peer"}.get(what, what),
     "median_us": us, "p10_us": us, "p90_us": us, "ratio": us / 10}
    for case, factor in (("128x10", 1.0), ("1024x32000", 2.0))
    for what, us in (("ours", 10.0), ("eager", 30.0 * factor), ("compile", 8.0), ("floor", 5.0))
]  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return demo.train_all(data.load("digits").subset(400, 200), seeds=2, epochs=3)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_report_files(result, tmp_path):
    page = demo.write_report(result, ROWS, tmp_path / "deep" / "report")
    assert sorted(p.name for p in page.parent.iterdir()) == [
        "accuracy.csv",
        "benchmark.csv",
        "curves.csv",
        "index.html",
    ]
    accuracy, curves, benchmark = (read(page.parent / f"{name}.csv") for name in ("accuracy", "curves", "benchmark"))
    assert [row["Output"] for row in accuracy] == list(demo.OUTPUTS)
    assert len(curves) == len(demo.OUTPUTS) * 2 * 3
    assert {(row["output"], row["seed"], row["epoch"]) for row in curves} == {
        (output, str(seed), str(epoch)) for output in demo.OUTPUTS for seed in range(2) for epoch in (1, 2, 3)
    }
    assert all(0 <= float(row["test_error_percent"]) <= 100 for row in curves)
    assert [row["what"] for row in benchmark] == 2 * ["ours", "eager", "compile", "floor"]
    html = page.read_text()
    assert html.count("data:image/png;base64,") == 2 and "exp_ga_loss" in html and "<script" not in html


def test_peers_are_told_one_by_one():
    told = demo.benchmark_summary(ROWS)
    assert "eager 4.50 (3.00 to 6.00 in 2 cases); compile 0.80 (0.80 to 0.80 in 2 cases)." in told
    assert "floor" not in told and demo.benchmark_summary([]) == ""


def test_a_report_without_benchmarks_keeps_no_old_ones(result, tmp_path):
    demo.write_report(result, ROWS, tmp_path)
    demo.write_report(result, None, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["accuracy.csv", "curves.csv", "index.html"]
    assert "Time relative to ours" not in (tmp_path / "index.html").read_text()


def test_accuracy_is_the_median_of_the_curves(result, tmp_path):
    demo.write_report(result, None, tmp_path)
    assert not (tmp_path / "benchmark.csv").exists()
    curves = read(tmp_path / "curves.csv")
    for row in read(tmp_path / "accuracy.csv"):
        best = [
            min(float(c["test_error_percent"]) for c in curves if (c["output"], c["seed"]) == (row["Output"], seed))
            for seed in ("0", "1")
        ]
        assert float(row["Error %"]) == pytest.approx(sum(best) / 2)


def test_training_uses_the_compiled_losses(monkeypatch):
    from effdl_fast import _C

    names = [name for name in dir(_C) if "ga_loss" in name]
    assert names, "the extension holds the losses"
    calls = []
    for name in names:
        original = getattr(_C, name)
        monkeypatch.setattr(_C, name, lambda *a, f=original, n=name, **k: calls.append(n) or f(*a, **k))
    demo.train_all(data.load("digits").subset(100, 50), seeds=1, epochs=1)
    for stem in ("linear", "exp", "pow3"):
        assert any(call.startswith(stem) for call in calls), (stem, set(calls))


def test_a_busy_machine_is_said(result):
    quiet, busy = ({**result.trials[0]["environment"], "load": load, "cores": 2} for load in (2.0, 9.5))
    trials = {name: [{**t, "environment": e} for t in result.trials] for name, e in (("quiet", quiet), ("busy", busy))}
    assert demo.busy_warning(replace(result, trials=trials["quiet"])) == ""
    assert "load 9.5 on 2 cores" in demo.headline(replace(result, trials=trials["busy"]), ROWS)


def test_epochs_and_progress(monkeypatch):
    assert demo.default_epochs(data.load("digits")) == 100
    large = types.SimpleNamespace(x_train=torch.empty(60_000, 0))
    assert demo.default_epochs(large) == 5
    steps = []
    demo.train_all(data.load("digits").subset(100, 50), 1, 2, progress=lambda n, text: steps.append(n))
    assert sum(steps) == demo.total_epochs(1, 2)


def test_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "find_harness", lambda: types.SimpleNamespace(run=lambda op, quick: ROWS))
    assert cli.main(["demo", "--seeds", "1", "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    for text in ("pow3-GA", "exp_ga_loss", "report/index.html"):
        assert text in printed
    assert (tmp_path / "report" / "index.html").is_file()

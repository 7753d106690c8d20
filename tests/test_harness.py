"""The benchmark harness: rows, ratios and targets are computed right, and a wrong result is never timed."""

import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module")
def harness():
    """The installed package's benchmarks, else those of the source tree."""
    if importlib.util.find_spec("effdl_fast.benchmarks") is not None:
        return importlib.import_module("effdl_fast.benchmarks.harness")
    tree = str(Path(__file__).resolve().parents[1])
    sys.path.append(tree)
    try:
        return importlib.import_module("benchmarks.harness")
    finally:
        sys.path.remove(tree)


def sleeper(milliseconds):
    return lambda: time.sleep(milliseconds / 1e3)


def race(harness, **changes):
    contestants = [harness.Contestant("ours", sleeper(2)), harness.Contestant("peer", sleeper(8))]
    fields = {"op": "nap", "case": "short", "contestants": contestants, "bytes": 1000, "check": lambda: None, **changes}
    return harness.Race(**fields)


def test_ratios_and_targets(harness):
    targets = [harness.Target("peer", 2.0), harness.Target("peer", 100.0)]
    ours, peer = harness.measure(race(harness, targets=targets, floor="peer"), quick=True)
    assert ours["ratio"] == 1 and 2 < peer["ratio"] < 5
    assert 2000 <= ours["p10_us"] <= ours["median_us"] <= ours["p90_us"]
    assert peer["targets"] == [{"ratio": 2.0, "reached": True}, {"ratio": 100.0, "reached": False}]
    assert ours["targets"] == [] and ours["floor"] == peer["median_us"]
    assert ours["gb_per_s"] == pytest.approx(1000 / ours["median_us"] / 1e3)


def test_many_calls_make_a_sample_of_a_short_function(harness):
    contestants = [harness.Contestant("ours", lambda: None)]
    (row,) = harness.measure(race(harness, contestants=contestants), quick=True)
    assert row["calls"] > 100 and row["median_us"] < 10


def test_setup_runs_before_every_call_and_is_not_timed(harness):
    log = []
    contestants = [
        harness.Contestant("ours", lambda: log.append("run"), lambda: (time.sleep(0.005), log.append("setup")))
    ]
    (row,) = harness.measure(race(harness, contestants=contestants), quick=True)
    assert log == ["setup", "run"] * (len(log) // 2) and len(log) >= 6
    assert row["median_us"] < 4000


def test_a_wrong_result_is_not_timed(harness):
    def check():
        raise AssertionError("wrong")

    contestants = [harness.Contestant("ours", lambda: pytest.fail("timed"))]
    with pytest.raises(AssertionError, match="wrong"):
        harness.measure(race(harness, check=check, contestants=contestants), quick=True)


def test_unknown_op(harness):
    with pytest.raises(ValueError, match=r"no benchmark of 'nonsense'; there are .*exp_ga_loss"):
        harness.run("nonsense")


def test_every_race_of_an_op_checks_itself(harness):
    """The first races of each loss, small ones; they carry the targets that the project has set itself."""
    for op in ("exp_ga_loss", "pow3_ga_loss", "linear_ga_loss"):
        module = importlib.import_module(f"{harness.__package__}.ops.bench_{op}")
        races = module.races(torch.device("cpu"), True)
        for _ in range(2):
            first = next(races)
            first.check()
            assert first.op == op and first.contestants[0].what == "ours" and first.targets
            assert {t.against for t in first.targets} <= {c.what for c in first.contestants}


def test_history_and_table(harness, tmp_path):
    rows = harness.measure(race(harness, targets=[harness.Target("peer", 2.0)]), quick=True)
    for _ in range(2):
        path = harness.append_history(rows, tmp_path / "deep")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 4
    assert {"date", "commit", "cpu", "cores", "torch", "threads", "median_us", "what"} <= set(lines[0])
    text = harness.table(rows)
    assert "nap  short" in text and "2.00x met" in text


def test_plot(harness, tmp_path):
    pytest.importorskip("matplotlib")
    rows = harness.measure(race(harness), quick=True)
    (path,) = harness._plot(rows, tmp_path)
    assert path.stat().st_size > 1000

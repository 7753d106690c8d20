"""The benchmark harness: rows, ratios and targets are computed right, and a wrong result is never timed."""

import importlib
import importlib.util
import json
import sys
import time
import types
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
    assert peer["targets"] == [
        {"of": "time", "ratio": 2.0, "reached": True},
        {"of": "time", "ratio": 100.0, "reached": False},
    ]
    assert (ours["role"], peer["role"]) == ("ours", "floor")
    assert ours["targets"] == [] and ours["floor"] == peer["median_us"]
    assert ours["gb_per_s"] == pytest.approx(1000 / ours["median_us"] / 1e3)


def test_many_calls_make_a_sample_of_a_short_function(harness):
    contestants = [harness.Contestant("ours", lambda: None)]
    (row,) = harness.measure(race(harness, contestants=contestants), quick=True)
    assert row["calls"] > 100 and row["median_us"] < 10


def test_a_slow_first_call_does_not_decide(harness):
    """torch.compile compiles in the first call."""
    called = []

    def slow_once():
        if not called:
            time.sleep(0.2)  # far more than the 100 samples after which one call would have to do
        called.append(1)

    contestants = [harness.Contestant("ours", slow_once)]
    (row,) = harness.measure(race(harness, contestants=contestants), quick=True)
    assert row["calls"] > 100 and row["p90_us"] < 100


def test_peak_memory_and_its_target(harness):
    peaks = iter((100, 1500))
    contestants = [harness.Contestant(what, sleeper(1), peak_bytes=lambda: next(peaks)) for what in ("ours", "peer")]
    contestants.append(harness.Contestant("other", sleeper(1)))
    targets = [harness.Target("peer", 10.0, of="memory"), harness.Target("peer", 20.0, of="memory")]
    rows = harness.measure(race(harness, contestants=contestants, targets=targets), quick=True)
    assert [row["peak_bytes"] for row in rows] == [100, 1500, None]
    assert [row["peak_ratio"] for row in rows] == [1.0, 15.0, None]
    assert [target["reached"] for target in rows[1]["targets"]] == [True, False]
    text = harness.table(rows)
    assert "MB peak memory" in text and "10.00x met, 20.00x MISSED" in text


def test_rates_and_notes(harness):
    rows = harness.measure(race(harness, elements=4_000_000, notes=["wanted: 1e9/s"]), quick=True)
    assert [row["elements"] for row in rows] == [4_000_000] * 2
    assert [row["notes"] for row in rows] == [["wanted: 1e9/s"], []]
    text = harness.table(rows)
    assert "  wanted: 1e9/s\n" in text and "GB/s   1e9/s" in text
    assert f"{4e3 / rows[0]['median_us']:.2f}" in text
    assert "1e9/s" not in harness.table(harness.measure(race(harness), quick=True))


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
            assert first.floor in {c.what for c in first.contestants}
            assert {t.against for t in first.targets} <= {c.what for c in first.contestants}


@pytest.mark.parametrize("op", ["quantize", "dequantize", "histogram", "entropy", "pack_bits", "unpack_bits",
                                "huffman_lengths", "huffman_encode", "huffman_decode", "compress_weights",
                                "decompress_weights"])  # fmt: skip
def test_the_first_race_of_a_compression_op(harness, op):
    module = importlib.import_module(f"{harness.__package__}.ops.bench_{op}")
    races = module.races(torch.device("cpu"), True)
    threads = torch.get_num_threads()
    first = next(races)
    assert torch.get_num_threads() == 1, "Huff0 and zstd have one thread"
    first.check()
    assert first.op == op and first.contestants[0].what == "ours" and first.elements > 0
    what = [c.what for c in first.contestants]
    assert first.floor in what and {t.against for t in first.targets} <= set(what) and len(set(what)) == len(what)
    for contestant in first.contestants:
        contestant.run()
    races.close()
    assert torch.get_num_threads() == threads


def test_the_excess_over_the_entropy_is_checked(harness, monkeypatch):
    module = importlib.import_module(f"{harness.__package__}.ops.bench_compress_weights")
    monkeypatch.setattr(module, "EXCESS", {8: ("huffman", 0.001)})
    with pytest.raises(AssertionError, match=r"8 bits, huffman: 1\.1\d% above the entropy"):
        next(module.races(torch.device("cpu"), True))


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
    plots = importlib.import_module("effdl_fast.reproduce.plots")
    assert plots.benchmark("bench_nap", rows).png.startswith(b"\x89PNG")


@pytest.fixture
def two_races(harness, monkeypatch):
    """harness.run finds one op, "nap", with two races; the second has a target that is out of reach."""
    missed = [harness.Target("peer", 1000.0)]
    races = [race(harness, case="first"), race(harness, case="second", targets=missed)]
    monkeypatch.setattr(harness, "modules", lambda: {"nap": ".ops.bench_nap"})
    original = importlib.import_module
    module = types.SimpleNamespace(races=lambda device, quick: iter(races))
    fake = lambda name, package=None: module if name == ".ops.bench_nap" else original(name, package)  # noqa: E731
    monkeypatch.setattr(harness.importlib, "import_module", fake)
    return races


def test_strict_reports_a_missed_target(harness, two_races, tmp_path, capsys):
    assert harness.main("nap", True, tmp_path, False) == 0
    assert harness.main("nap", True, tmp_path, False, strict=True) == 1
    assert "targets missed: 1" in capsys.readouterr().out
    two_races.pop()
    assert harness.main("nap", True, tmp_path, False, strict=True) == 0


def test_what_was_measured_survives_an_interrupt(harness, two_races, tmp_path, capsys):
    def interrupt():
        raise KeyboardInterrupt

    two_races[1].check = interrupt
    with pytest.raises(KeyboardInterrupt):
        harness.main("nap", True, tmp_path, False)
    assert "nap  first" in capsys.readouterr().out, "shown as soon as it is done"
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [(line["case"], line["what"]) for line in lines] == [("first", "ours"), ("first", "peer")]


def test_threads_are_those_of_the_measurement(harness, two_races, tmp_path):
    before = torch.get_num_threads()
    recorded = []
    environment = importlib.import_module("effdl_fast.reproduce.environment").environment
    harness.run("nap", quick=True, threads=before + 1, after_race=lambda rows: recorded.append(environment("cpu")))
    assert {r["threads"] for r in recorded} == {before + 1} and torch.get_num_threads() == before


def test_a_folder_is_checked_before_the_work(harness, two_races, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(harness, "measure", lambda race, quick: pytest.fail("measured"))
    with pytest.raises(ValueError, match="is a file"):
        harness.main("nap", True, tmp_path / "file", False)

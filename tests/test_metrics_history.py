"""ProbeHistory: tables, JSON, plots and files of what a LayerProbe has measured."""

import json
import math
import sys

import pytest

from effdl_fast.errors import MissingPackageError
from effdl_fast.metrics import LayerProbe, Measurement, ProbeHistory

from ._probe import small_data, small_net


def test_history_keeps_the_last_value_and_survives_json(tmp_path):
    history = ProbeHistory([(0, "a", "m", 1), (0, "b", "m", math.nan), (1, "a", "m", math.inf), (0, "a", "m", 2)])
    assert len(history) == 3 and next(iter(history)) == Measurement(0, "a", "m", 2.0)
    assert history.series("m")["a"] == ([0, 1], [2.0, math.inf])
    text = history.to_json(tmp_path / "history.json")
    assert json.loads(text)["measurements"][1] == [0, "b", "m", "nan"]
    for source in (text, tmp_path / "history.json", str(tmp_path / "history.json")):
        again = ProbeHistory.from_json(source)
        assert again.to_json() == text and math.isnan(again.series("m")["b"][1][0])
    assert history.table() == [
        {"epoch": 0, "layer": "a", "m": 2.0},
        {"epoch": 0, "layer": "b", "m": pytest.approx(math.nan, nan_ok=True)},
        {"epoch": 1, "layer": "a", "m": math.inf},
    ]
    for bad in (
        "{}",
        '{"format": "x"}',
        '{"format": "effdl_fast.layer_probe/1", "measurements": [[0, "a", "m"]]}',
        "{",
    ):
        with pytest.raises(ValueError):
            ProbeHistory.from_json(bad)
    for row in (["0", "a", "m", 1], [0, 1, "m", 1], [0, "a", "m", None], [0, "a", "m", "much"]):
        with pytest.raises(ValueError, match="measurements must be"):
            ProbeHistory.from_dict({**history.to_dict(), "measurements": [row]})


def test_a_history_can_be_continued():
    probe = LayerProbe(small_net())
    probe.record(0, *small_data())
    again = LayerProbe(small_net())
    again.history = ProbeHistory.from_json(probe.to_json())
    again.record(1, *small_data())
    before = probe.to_dict()["measurements"]
    assert again.history.epochs == [0, 1] and again.to_dict()["measurements"][: len(before)] == before


def test_plots(tmp_path):
    figure = pytest.importorskip("matplotlib.figure")
    probe = LayerProbe(small_net())
    for epoch in range(3):
        probe.record(epoch, *small_data())
    for by in ("epoch", "layer"):
        probe.plot(tmp_path / f"{by}.png", "k_redundancy/5", by=by)
        assert (tmp_path / f"{by}.png").read_bytes().startswith(b"\x89PNG")
    axes = figure.Figure().subplots()
    assert probe.plot(axes, "least_squares_distance") is axes
    assert [line.get_label() for line in axes.lines] == ["1", "3"]
    assert axes.lines[0].get_ydata().tolist() == probe.history.series("least_squares_distance")["1"][1]
    layers = figure.Figure().subplots()
    probe.plot(layers, "least_squares_distance", by="layer")
    assert [line.get_label() for line in layers.lines] == ["epoch 0", "epoch 1", "epoch 2"]
    assert [label.get_text() for label in layers.get_xticklabels()] == ["1", "3"]
    with pytest.raises(ValueError, match="metric must be one of least_squares_distance"):
        probe.plot(axes, "lsd")
    with pytest.raises(ValueError, match="by must be"):
        probe.plot(axes, "conditional_entropy", by="time")
    with pytest.raises(TypeError, match="target must be"):
        probe.plot(3, "conditional_entropy")


@pytest.mark.parametrize("failing", ["os.fsync", "os.replace"])
def test_files_are_written_whole_or_not_at_all(monkeypatch, tmp_path, failing):
    pytest.importorskip("matplotlib.figure")
    history = ProbeHistory([(0, "a", "m", 1), (1, "a", "m", 2)])
    for name in ("a.json", "a.svg", "a"):
        (tmp_path / name).write_bytes(b"old")
    (tmp_path / "a.json").chmod(0o600)

    def full(*_):
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(failing, full)
        for call in (
            lambda: history.to_json(tmp_path / "a.json"),
            lambda: history.plot(tmp_path / "a.svg", "m"),
            lambda: history.plot(str(tmp_path / "a"), "m"),
        ):
            with pytest.raises(OSError, match="No space left"):
                call()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == dict.fromkeys(
        ("a.json", "a.svg", "a"), b"old"
    )
    history.to_json(tmp_path / "a.json")
    history.plot(tmp_path / "a.svg", "m")
    history.plot(str(tmp_path / "a"), "m")
    assert ProbeHistory.from_json(tmp_path / "a.json").epochs == [0, 1]
    assert b"<svg" in (tmp_path / "a.svg").read_bytes() and (tmp_path / "a").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", "a.json", "a.svg"]


def test_plots_without_matplotlib_say_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingPackageError, match=r"effdl-fast\[plot\]"):
        ProbeHistory([(0, "a", "m", 1)]).plot(tmp_path / "a.png", "m")

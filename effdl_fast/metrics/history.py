"""What a LayerProbe has measured: numbers only, as tables, JSON and plots."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from effdl_fast import files
from effdl_fast.errors import MissingPackageError

FORMAT = "effdl_fast.layer_probe/1"


class Measurement(NamedTuple):
    """One number."""

    epoch: float
    layer: str
    metric: str
    value: float


class ProbeHistory:
    """Measurements in the order in which they were taken. The last one of an (epoch, layer, metric) counts."""

    def __init__(self, measurements: Iterable[Measurement | tuple[float, str, str, float]] = ()) -> None:
        self._values: dict[tuple[float, str, str], float] = {}
        for one in measurements:
            self.add(*one)

    def add(self, epoch: float, layer: str, metric: str, value: float) -> None:
        self._values[epoch, layer, metric] = float(value)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self):
        return (Measurement(*key, value) for key, value in self._values.items())

    @property
    def epochs(self) -> list[float]:
        return list(dict.fromkeys(epoch for epoch, _, _ in self._values))

    @property
    def layers(self) -> list[str]:
        return list(dict.fromkeys(layer for _, layer, _ in self._values))

    @property
    def metrics(self) -> list[str]:
        return list(dict.fromkeys(metric for _, _, metric in self._values))

    def series(self, metric: str) -> dict[str, tuple[list[float], list[float]]]:
        """By layer: (epochs, values). ValueError for a metric that was never recorded."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        for epoch, layer, name, value in self:
            if name == metric:
                epochs, values = found.setdefault(layer, ([], []))
                epochs.append(epoch)
                values.append(value)
        if not found:
            raise ValueError(
                f"ProbeHistory: metric must be one of {', '.join(self.metrics) or '(none yet)'}, got {metric!r}"
            )
        return found

    def table(self) -> list[dict[str, Any]]:
        """One row for each epoch and layer: {"epoch": ..., "layer": ..., metric: value, ...}."""
        rows: dict[tuple[float, str], dict[str, Any]] = {}
        for epoch, layer, metric, value in self:
            rows.setdefault((epoch, layer), {"epoch": epoch, "layer": layer})[metric] = value
        return list(rows.values())

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; NaN and infinity are the strings "nan", "inf" and "-inf"."""
        return {
            "format": FORMAT,
            "measurements": [[e, l, m, v if math.isfinite(v) else str(v)] for e, l, m, v in self],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ProbeHistory:
        """The inverse of `to_dict`. ValueError for anything else."""
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            raise ValueError(f"ProbeHistory: data must be of the format {FORMAT}")
        history = cls()
        try:
            for epoch, layer, metric, value in data["measurements"]:
                if not isinstance(layer, str) or not isinstance(metric, str) or not isinstance(epoch, int | float):
                    raise TypeError
                history.add(epoch, layer, metric, float(value))
        except (KeyError, TypeError, ValueError):
            raise ValueError("ProbeHistory: measurements must be lists of epoch, layer, metric and value") from None
        return history

    def to_json(self, path: str | Path | None = None) -> str:
        """The history as JSON text, also written to a file if `path` is given: whole, or the old file stays."""
        text = json.dumps(self.to_dict(), allow_nan=False)
        if path is not None:
            files.write_bytes(path, text.encode())
        return text

    @classmethod
    def from_json(cls, source: str | Path) -> ProbeHistory:
        """From a file (a Path, or a str that does not begin with "{") or from JSON text."""
        if isinstance(source, Path) or not source.lstrip().startswith("{"):
            source = Path(source).read_text(encoding="utf-8")
        return cls.from_dict(json.loads(source))

    def plot(self, target: Any, metric: str, *, by: str = "epoch") -> Any:
        """Draws one metric.

        Args:
            target: a path of a picture (its ending says the format, PNG without one), or matplotlib axes to draw on.
            metric: a name of `metrics`.
            by: "epoch": a line for each layer over the epochs (Figures 5.6, 5.21). "layer": a line for each epoch over
                the layers, in the order of the forward pass (Figure 5.14).

        Returns:
            The axes.

        Raises:
            MissingPackageError: matplotlib is not installed (`pip install effdl-fast[plot]`).
            ValueError: an unknown metric or by.
        """
        if by not in ("epoch", "layer"):
            raise ValueError(f"ProbeHistory: by must be epoch or layer, got {by!r}")
        series = self.series(metric)
        figure, axes = None, target
        if isinstance(target, str | Path):
            figure, axes = _figure()
        elif not hasattr(target, "plot"):
            raise TypeError(f"ProbeHistory: target must be a path or matplotlib axes, got {type(target).__name__}")
        if by == "epoch":
            for layer, (epochs, values) in series.items():
                axes.plot(
                    epochs, values, label=layer or "(model)", marker="o" if len(epochs) < 13 else "", markersize=3
                )
            axes.set_xlabel("epoch")
        else:
            places = {layer: place for place, layer in enumerate(series)}
            for epoch in dict.fromkeys(e for epochs, _ in series.values() for e in epochs):
                points = [
                    (places[layer], value)
                    for layer, (epochs, values) in series.items()
                    for e, value in zip(epochs, values, strict=True)
                    if e == epoch
                ]
                axes.plot(*zip(*points, strict=True), label=f"epoch {epoch:g}", marker="o", markersize=3)
            axes.set_xticks(list(places.values()), [name or "(model)" for name in places], rotation=45, ha="right")
        axes.set_ylabel(metric)
        axes.grid(True, color="#e6e8ee", linewidth=0.7)
        axes.legend(fontsize=8, frameon=False)
        if figure is not None:
            picture = io.BytesIO()
            figure.savefig(picture, dpi=110, format=Path(target).suffix[1:] or "png")
            files.write_bytes(target, picture.getvalue())
        return axes


def _figure() -> tuple[Any, Any]:
    """A figure of its own: no global state, no display."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError('plots need matplotlib; pip install "effdl-fast[plot]"') from error
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    return figure, figure.subplots()

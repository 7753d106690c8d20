"""The plots of the report, through matplotlib's object interface."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from effdl_fast.reproduce.report import Plot

DPI = 110
OVERALL, OTHER = "#1c2330", "#9aa3b2"
MAX_CHANNELS = 4  # an axis this short is read as channels
POINTS = 20_000  # more are thinned out, both panels by the same points


def colours(count: int) -> list[Any]:
    from matplotlib import colormaps

    return [colormaps["tab10"](i % 10) for i in range(count)]


def curves(caption: str, k: int, lines: Mapping[str, tuple[Sequence[int], Sequence[float], bool]]) -> Plot:
    """Kept shares against k: lines[label] = (ks, shares in percent, whether it is the line of all samples)."""
    figure = _figure(7.6, 4.2)
    axis = figure.subplots()
    shades = iter(colours(len(lines)))
    for index, (label, (ks, shares, overall)) in enumerate(lines.items()):
        colour = OVERALL if overall else next(shades)
        style = ("-", "--", ":")[0 if overall else (index - 1) // 10 % 3]
        axis.plot(ks, shares, label=label, color=colour, linewidth=2.2 if overall else 1.1, linestyle=style)
    axis.axvline(k, color=OTHER, linewidth=1, linestyle="--")
    axis.text(k, 1, f" k = {k}", fontsize=8, color=OTHER, va="bottom")
    axis.set_xscale("log")
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set(xlabel="k", ylabel="kept, % of the samples", ylim=(0, 101))
    axis.grid(True, color="#e6e8ee", linewidth=0.7)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(fontsize=7.5, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return _render(figure, "kept", caption)


def as_images(x: np.ndarray) -> np.ndarray | None:
    """(N, H, W) or (N, H, W, C) for imshow from samples of an image's shape, None from others."""
    if x.ndim == 4 and x.shape[3] > MAX_CHANNELS and x.shape[1] <= MAX_CHANNELS:
        x = x.transpose(0, 2, 3, 1)
    if x.ndim == 4 and x.shape[3] in (1, 2):
        x = x[..., 0]
    if x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (3, MAX_CHANNELS)):
        return x
    return None


def images(name: str, caption: str, x: np.ndarray, rows: Mapping[str, Sequence[tuple[int, str]]]) -> Plot:
    """A row of images for each key: rows[label] = (sample, text under it), ...; all on one scale of brightness."""
    columns = max(map(len, rows.values()))
    figure = _figure(1.0 + 0.95 * columns, 1.15 * len(rows) + 0.2)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    low, high = (0, 255) if x.dtype == np.uint8 and x.max() > 16 else (float(x.min()), float(x.max()))
    for axes, (label, row) in zip(grid, rows.items(), strict=True):
        axes[0].set_ylabel(_short(label), fontsize=8, rotation=0, ha="right", va="center")
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        for axis, (sample, text) in zip(axes, row, strict=False):
            image = (x[sample].astype(np.float32) - low) / (high - low or 1)
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            axis.set_xlabel(text, fontsize=7, labelpad=2)
    return _render(figure, name, caption)


def scatter(caption: str, x: np.ndarray, y: np.ndarray, kept: np.ndarray, names: Mapping[int, str]) -> Plot:
    """Points of a plane by class: all of them, and those that are kept; of many points every second, third, ..."""
    figure = _figure(9.6, 4.6)
    step = -(-len(x) // POINTS)
    caption += f" One point in {step} is shown." if step > 1 else ""
    shades = dict(zip(names, colours(len(names)), strict=True))
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axis, title, chosen in zip(panels, ("all", "kept"), (np.arange(len(x)), kept), strict=True):
        shown = chosen[chosen % step == 0]
        for label in names:
            points = x[shown[y[shown] == label]]
            axis.scatter(points[:, 0], points[:, 1], s=3, color=shades[label], linewidths=0, label=names[label])
        axis.set_title(f"{title}: {len(chosen):,}", fontsize=10)
        axis.tick_params(labelsize=8)
    if len(names) <= 10:
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, fontsize=8, frameon=False, markerscale=4, ncols=10, loc="outside upper left")
    return _render(figure, "scatter", caption)


def _short(text: str) -> str:
    return text if len(text) <= 14 else text[:13] + "…"


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _render(figure: Any, name: str, caption: str) -> Plot:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return Plot(name, caption, buffer.getvalue())

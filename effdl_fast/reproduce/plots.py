"""The few kinds of plot the reports use, through matplotlib's object interface: no global figure, no display."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from effdl_fast.reproduce.report import Plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {
    "softmax": "#4a4f5a",
    "sigmoid": "#b07aa1",
    "tanh": "#d37295",
    "linear": "#1f77b4",
    "exp-GA": "#e8762c",
    "pow3-GA": "#2b9348",
}
OTHER_COLOURS = ("#8a6d3b", "#17a2a2", "#7a5bd0", "#c2a100", "#999999")
PANEL = (4.6, 3.4)  # inches, one panel
DPI = 110


def require() -> None:
    """ImportError with the remedy where matplotlib is missing; called before hours are spent on a run."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise ImportError("plots need matplotlib; pip install 'effdl-fast[plot]'") from error


def colour(label: str, index: int = 0) -> str:
    """A label's colour, the same in every plot: "softmax lr 0.3" has that of softmax; unknown labels take turns."""
    known = [name for name in COLOURS if label.startswith(name)]
    return COLOURS[known[0]] if known else OTHER_COLOURS[index % len(OTHER_COLOURS)]


def curves(
    name: str,
    caption: str,
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    *,
    x: str,
    y: str,
    log_y: bool = False,
    columns: int = 3,
) -> Plot:
    """Lines in one or several panels: panels[title][label] = (x values, y values); the legend is in the first."""
    figure, axes = _grid(len(panels), columns)
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        seen: dict[str, int] = {}
        for index, (label, (xs, ys)) in enumerate(lines.items()):
            shade = colour(label, index)
            style = ("-", "--", ":", "-.")[seen.setdefault(shade, 0) % 4]
            seen[shade] += 1
            marker = "o" if len(xs) <= 12 else ""
            axis.plot(xs, ys, label=label, color=shade, linestyle=style, marker=marker, markersize=3, linewidth=1.6)
        _dress(axis, title, x, y)
        if log_y:
            axis.set_yscale("log")
    axes[0].legend(fontsize=8, frameon=False)
    return _render(figure, name, caption)


def histograms(
    name: str,
    caption: str,
    panels: Mapping[str, tuple[str, Sequence[float], Sequence[float]]],
    *,
    x: str,
    columns: int = 3,
) -> Plot:
    """Histograms, one a panel: panels[title] = (label, bin edges, counts); the counts are on a logarithmic axis."""
    figure, axes = _grid(len(panels), columns)
    for axis, (title, (label, edges, counts)) in zip(axes, panels.items(), strict=True):
        axis.stairs(counts, edges, fill=True, color=colour(label), alpha=0.85)
        axis.set_yscale("log")
        _dress(axis, title, x, "count")
    return _render(figure, name, caption)


def bars(
    name: str, caption: str, groups: Mapping[str, Mapping[str, float]], *, y: str, line: float | None = None
) -> Plot:
    """Grouped bars: groups[group][label] = height; `line` draws a horizontal reference."""
    figure, (axis,) = _grid(1, 1, width=max(PANEL[0], 1.1 + 1.05 * len(groups)))
    labels = list(dict.fromkeys(label for group in groups.values() for label in group))
    width = 0.8 / max(len(labels), 1)
    for index, label in enumerate(labels):
        places = [i + (index - (len(labels) - 1) / 2) * width for i, g in enumerate(groups.values()) if label in g]
        heights = [group[label] for group in groups.values() if label in group]
        axis.bar(places, heights, width, label=label, color=colour(label, index))
    axis.set_xticks(range(len(groups)), list(groups), rotation=25, ha="right", fontsize=8)
    if line is not None:
        axis.axhline(line, color="#222222", linewidth=0.8, linestyle="--")
    _dress(axis, "", "", y)
    axis.legend(fontsize=8, frameon=False)
    return _render(figure, name, caption)


def _grid(panels: int, columns: int, width: float = PANEL[0]) -> tuple[Any, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, PANEL[1] * rows), layout="constrained")
    grid = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for unused in grid[panels:]:
        unused.set_axis_off()
    return figure, grid[:panels]


def _dress(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(True, color="#e6e8ee", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _render(figure: Any, name: str, caption: str) -> Plot:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return Plot(name, caption, buffer.getvalue())

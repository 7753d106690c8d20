"""The few kinds of plot the reports use, through matplotlib's object interface: no global figure, no display."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from effdl_fast.errors import MissingPackageError
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
    "ours": "#1f5fbf",
    "floor": "#aab0bb",
    "layer 1": "#1f77b4",
    "layer 2": "#e8762c",
    "layer 3": "#2b9348",
}
OTHER_COLOURS = ("#8a6d3b", "#17a2a2", "#7a5bd0", "#c2a100", "#999999")
CLASSES = ("#c22f2f", "#1f5fbf", "#2b9348", "#e8a02c", "#7a5bd0", "#17a2a2", "#8a6d3b", "#d37295", "#4a4f5a", "#c2a100")
ARROWS = ("#1f5fbf", "#111111", "#5b6472", "#a6acb6")  # the solution, then principal components
PANEL = (4.6, 3.4)  # inches, one panel
SCENE = 3.0  # inches, the side of a panel that shows points of a plane
DPI = 110
PALETTE = 96  # colours of a stored image: looks the same at a third of the size


def require() -> None:
    """MissingPackageError with the remedy where matplotlib is missing; called before hours are spent on a run."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingPackageError("plots need matplotlib; pip install matplotlib") from error


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
    scale: float = 1.0,
) -> Plot:
    """Lines in one or several panels: panels[title][label] = (x values, y values); the legend is in the first."""
    figure, axes = _grid(len(panels), columns, PANEL[0] * scale)
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
            _logarithmic(axis, "y")
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
        _logarithmic(axis, "y")
        _dress(axis, title, x, "count")
    return _render(figure, name, caption)


def spreads(
    name: str,
    caption: str,
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    x: str,
    y: Mapping[str, str],
    columns: int = 2,
) -> Plot:
    """Samples by category: panels[title][category] = values; y[title] names their axis.

    A dot for each value, a box of one standard deviation around the mean, the median in red, a line through the means.
    """
    figure, axes = _grid(len(panels), columns, width=5.6)
    for axis, (title, samples) in zip(axes, panels.items(), strict=True):
        places = range(len(samples))
        means = [statistics.fmean(values) for values in samples.values()]
        deviations = [statistics.pstdev(values) for values in samples.values()]
        bottoms = [mean - deviation for mean, deviation in zip(means, deviations, strict=True)]
        heights = [2 * deviation for deviation in deviations]
        axis.use_sticky_edges = False
        axis.bar(places, heights, bottom=bottoms, width=0.6, color="#dfe7f5", edgecolor=COLOURS["ours"], linewidth=0.8)
        for place, values in zip(places, samples.values(), strict=True):
            axis.plot([place] * len(values), values, "o", color="#4a4f5a", markersize=2.5, alpha=0.6)
            axis.hlines(statistics.median(values), place - 0.3, place + 0.3, color="#c22f2f", linewidth=1.5, zorder=4)
        axis.plot(places, means, color=COLOURS["ours"], linewidth=1.2)
        axis.set_xticks(places, list(samples), rotation=45 if max(map(len, samples)) > 3 else 0)
        _dress(axis, title, x, y[title])
    return _render(figure, name, caption)


def dots(name: str, caption: str, rows: Mapping[str, Mapping[str, float]], *, x: str, line: float) -> Plot:
    """One row of dots per key of `rows`, on a logarithmic axis: rows[row][label] = value; `line` is the reference."""
    figure, (axis,) = _grid(1, 1, width=8.4, height=1.5 + 0.4 * len(rows))
    labels = list(dict.fromkeys(label for row in rows.values() for label in row))
    for index, label in enumerate(labels):
        values = [row[label] for row in rows.values() if label in row]
        places = [place for place, row in enumerate(rows.values()) if label in row]
        axis.scatter(values, places, label=label, color=colour(label, index), s=34, zorder=3)
    axis.axvline(line, color="#222222", linewidth=0.9, linestyle="--")
    _logarithmic(axis, "x")
    axis.set_yticks(range(len(rows)), list(rows))
    axis.invert_yaxis()
    _dress(axis, "", x, "")
    figure.legend(fontsize=8, frameon=False, ncols=3, loc="outside upper left")
    return _render(figure, name, caption)


@dataclass(frozen=True)
class Scene:
    """Points of a plane, each in the colour of its class.

    marks: points that stand out, with their classes; regions: classes on a grid (rows from bottom to top) that covers
    `window` = (left, right, bottom, top), which the panel shows; arrows: a vector (dx, dy) at each point instead of a
    dot.
    """

    points: Sequence[Sequence[float]]
    classes: Sequence[int]
    marks: Sequence[Sequence[float]] = ()
    mark_classes: Sequence[int] = ()
    regions: Sequence[Sequence[int]] | None = None
    window: tuple[float, float, float, float] | None = None
    arrows: Sequence[Sequence[float]] | None = None


def scenes(
    name: str,
    caption: str,
    panels: Mapping[str, Scene],
    *,
    columns: int = 3,
    size: float = 3.0,
    legend: Sequence[str] = (),
    equal: bool = True,
) -> Plot:
    """Points of a plane in one or several panels; legend: names of the classes; equal: both axes on one scale."""
    figure, axes = _grid(len(panels), columns, SCENE, SCENE)
    for axis, (title, scene) in zip(axes, panels.items(), strict=True):
        if scene.regions is not None:
            from matplotlib.colors import ListedColormap

            image = axis.imshow(scene.regions, origin="lower", extent=scene.window, interpolation="nearest", alpha=0.25)
            image.set(cmap=ListedColormap(CLASSES), clim=(0, len(CLASSES) - 1))
        xs, ys = ([point[i] for point in scene.points] for i in (0, 1))
        shades = [CLASSES[c % len(CLASSES)] for c in scene.classes]
        if scene.arrows is not None:
            us, vs = ([arrow[i] for arrow in scene.arrows] for i in (0, 1))
            axis.quiver(xs, ys, us, vs, color=shades, width=0.004, pivot="tail")
        else:
            axis.scatter(xs, ys, s=size, c=shades, linewidths=0)
        if scene.marks:
            fill = [CLASSES[c % len(CLASSES)] for c in scene.mark_classes]
            xs, ys = ([mark[i] for mark in scene.marks] for i in (0, 1))
            axis.scatter(xs, ys, s=16, c=fill, edgecolors="#222222", linewidths=0.7, zorder=3)
        if scene.window is not None:
            axis.set(xlim=scene.window[:2], ylim=scene.window[2:])
        axis.set_aspect("equal" if equal else "auto")
        axis.set_title(title, fontsize=8.5)
        axis.tick_params(labelsize=6)
    for number, label in enumerate(legend):
        axes[0].scatter([], [], s=14, c=CLASSES[number % len(CLASSES)], label=label)
    if legend:
        figure.legend(fontsize=8, frameon=False, ncols=len(legend), loc="outside upper left")
    return _render(figure, name, caption)


@dataclass(frozen=True)
class Space:
    """Points of space (x, y, z), each in the colour of its class; arrows from the origin: label -> (x, y, z)."""

    points: Sequence[Sequence[float]]
    classes: Sequence[int]
    arrows: Mapping[str, Sequence[float]] = field(default_factory=dict)
    view: tuple[float, float] = (20.0, -60.0)  # elevation and azimuth, degrees


def spaces(name: str, caption: str, panels: Mapping[str, Space], *, columns: int = 3) -> Plot:
    """Points and arrows of space in one or several panels; the axes are a1, a2, a3; the legend is that of the first."""
    figure, axes = _grid(len(panels), columns, SCENE, SCENE, projection="3d")
    for axis, (title, space) in zip(axes, panels.items(), strict=True):
        solid: Any = axis
        solid.scatter(*zip(*space.points, strict=True), s=3, c=[CLASSES[c] for c in space.classes], alpha=0.5)
        for index, (label, arrow) in enumerate(space.arrows.items()):
            shade = ARROWS[index % len(ARROWS)]
            solid.quiver(0, 0, 0, *arrow, color=shade, linewidth=2, label=label, arrow_length_ratio=0.12)
        solid.view_init(*space.view)
        for letter in "xyz":
            getattr(solid, f"set_{letter}label")(f"a{'xyz'.index(letter) + 1}", fontsize=8, labelpad=-8)
        solid.locator_params(nbins=4)
        solid.set_title(title, fontsize=8.5)
        solid.tick_params(labelsize=6, pad=-2)
    if next(iter(panels.values())).arrows:
        figure.legend(
            *axes[0].get_legend_handles_labels(), fontsize=8, frameon=False, ncols=4, loc="outside upper left"
        )
    return _render(figure, name, caption)


def bars(
    name: str,
    caption: str,
    panels: Mapping[str, Sequence[float]],
    *,
    x: str,
    y: str,
    columns: int = 6,
) -> Plot:
    """One bar for each class, in its colour: panels[title] = heights."""
    figure, axes = _grid(len(panels), columns, 2.0, 1.6)
    for axis, (title, heights) in zip(axes, panels.items(), strict=True):
        axis.bar(range(len(heights)), heights, color=[CLASSES[i % len(CLASSES)] for i in range(len(heights))])
        _dress(axis, title, "", "")
        axis.set_title(title, fontsize=7.5)
        axis.tick_params(labelsize=6)
    figure.supxlabel(x, fontsize=8)
    figure.supylabel(y, fontsize=8)
    return _render(figure, name, caption)


def benchmark(name: str, rows: Sequence[Mapping[str, Any]]) -> Plot:
    """The harness's rows: for each op and case the times of all contestants relative to ours."""
    groups: dict[str, dict[str, float]] = {}
    for row in rows:
        groups.setdefault(f"{row['op']}\n{row['case']}", {})[row["what"]] = row["ratio"]
    caption = "Median time relative to ours, logarithmic; to the right of the line ours is faster."
    return dots(name, caption, groups, x="time / ours", line=1.0)


def _grid(
    panels: int, columns: int, width: float = PANEL[0], height: float = PANEL[1], projection: str | None = None
) -> tuple[Any, list[Axes]]:
    from matplotlib.figure import Figure

    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    kind = {"projection": projection}
    grid = list(figure.subplots(rows, columns, squeeze=False, subplot_kw=kind).ravel())
    for unused in grid[panels:]:
        unused.set_axis_off()
    return figure, grid[:panels]


def _logarithmic(axes: Axes, direction: str) -> None:
    """A logarithmic "x" or "y" axis; over less than two decades its ticks are plain numbers at 1, 2, 5, 10, ..."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set(**{f"{direction}scale": "log"})
    low, high = axes.get_xlim() if direction == "x" else axes.get_ylim()
    if high < 100 * low:
        axis = axes.xaxis if direction == "x" else axes.yaxis
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())


def _dress(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title, fontsize=10)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(True, color="#e6e8ee", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)


def _render(figure: Any, name: str, caption: str) -> Plot:
    from PIL import Image  # comes with matplotlib

    drawn, packed = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    few = Image.open(drawn).convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE)
    few.save(packed, format="png", optimize=True)
    return Plot(name, caption, packed.getvalue())

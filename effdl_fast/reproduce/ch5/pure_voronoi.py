"""Figures 5.11 and 5.12 (sec. 5.3.4): pure Voronoi maps and pure entropies of sinusoidal boundaries."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import torch

from effdl_fast import metrics
from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.points import sinusoid
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

FREQUENCIES = (1, 2, 4, 8)
DENSITIES = (0.125, 0.25, 0.5, 1.0)  # shares of the option `samples`, at frequency 1
SETTINGS: dict[str, dict[str, Any]] = {
    **{f"frequency {f}": {"frequency": float(f), "density": 1.0} for f in FREQUENCIES},
    **{f"density {d:g}": {"frequency": 1.0, "density": d} for d in DENSITIES},
}
SERIES = {  # which settings show what, and the figure
    "frequency": ([f"frequency {f}" for f in FREQUENCIES], "5.11"),
    "density": ([f"density {d:g}" for d in DENSITIES], "5.12"),
}
GRID = 160  # points along an axis of the drawn regions


def count(setting: Any, options: Any) -> int:
    """The number of points of a setting."""
    return max(2, round(setting["density"] * options["samples"]))


def run(trial: Trial) -> dict[str, Any]:
    """|C| and H (bits) of our map and of the condensed nearest neighbour rule, and the centroids of the first."""
    setting = trial.setting
    x, y = sinusoid(count(setting, trial.plan.options), setting["frequency"], trial.seed)
    ours = metrics.pure_voronoi(x, y, effort=trial.plan.options["effort"], seed=trial.seed)
    greedy = metrics.condensed_nearest_neighbour(x, y, generator=trial.seed)
    trial.tick(f"{len(ours)} centroids of {len(x)} points")
    return {
        "samples": len(x),
        "centroids": len(ours),
        "entropy": round(float(ours.entropy), 6),
        "pure": bool((ours.predict(x) == y).all()),
        "greedy_centroids": len(greedy),
        "greedy_entropy": round(float(greedy.entropy), 6),
        "places": [[round(v, 6) for v in c] for c in ours.centroids.tolist()],
        "labels": ours.labels.tolist(),
    }


def _mean(result: Result, label: str, key: str) -> float:
    return statistics.fmean(run[key] for run in result.of(label))


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        spread = [run["centroids"] for run in result.of(label)]
        keys = ("samples", "centroids", "entropy", "greedy_centroids", "greedy_entropy")
        samples, *rest = (_mean(result, label, key) for key in keys)
        rows.append([label, int(samples), rest[0], f"{min(spread)}-{max(spread)}", *rest[1:]])
    columns = ["Boundary", "Points", "|C|", "Range", "H bits", "|C| condensed NN", "H condensed NN"]
    caption = (
        "Number of centroids and pure entropy, mean over trials; beside them those of the condensed nearest neighbour "
        "rule (Hart), whose centroids are samples."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    out = []
    for name, (labels, number) in SERIES.items():
        panels = {}
        for label in labels:
            setting, found = result.settings[label], result.of(label)[0]
            x, y = sinusoid(count(setting, result.plan["options"]), setting["frequency"], 0)
            panels[f"{label}: |C| = {found['centroids']}, H = {found['entropy']:.2f}"] = plots.Scene(
                x.tolist(), y.tolist(), found["places"], found["labels"], _regions(found), (-1.0, 1.0, -1.0, 1.0)
            )
        caption = f"Fig. {number}: pure Voronoi maps by {name} (seed 0). Large dots: centroids; shading: their labels."
        out.append(plots.scenes(f"figure_{number.replace('.', '_')}", caption, panels, columns=4))
    return out


def _regions(found: Any) -> list[list[int]]:
    """The label of the nearest centroid on a grid over the square, row by row from the bottom."""
    axis = (torch.arange(GRID) + 0.5) * 2 / GRID - 1
    grid = torch.cartesian_prod(axis, axis).flip(1)
    nearest = torch.cdist(grid, torch.tensor(found["places"])).argmin(dim=1)
    return torch.tensor(found["labels"])[nearest].reshape(GRID, GRID).tolist()


def claims(result: Result) -> list[Claim]:
    out = []
    for name, (labels, _) in SERIES.items():
        for key, told in (("centroids", "|C|"), ("entropy", "H")):
            values = [_mean(result, label, key) for label in labels]
            shown = ", ".join(f"{value:.3g}" for value in values)
            text = f"{told} grows with the {name}"
            out.append(Claim(text, "yes", shown, all(a < b for a, b in itertools.pairwise(values))))
    pure = [run["pure"] for label in result.settings for run in result.of(label)]
    out.append(Claim("Every map is pure", "by definition", f"{sum(pure)} of {len(pure)}", all(pure)))
    return out


EXPERIMENT = Experiment(
    title="Pure Voronoi maps",
    thesis="Figs. 5.11 and 5.12, sec. 5.3.4, Defs. 5-7",
    about=(
        "Uniform points of the square [-1, 1]^2, class 1 above the boundary 0.5 sin(pi f x), without noise; f counts "
        "periods. Maps by metrics.pure_voronoi, which need not be optimal (`effort` is its argument); the thesis's "
        "come from a naive recursive algorithm of which it says the same. The thesis's numbers of points, amplitude "
        "and values of |C| and H are in its pictures only. Density is the share of all points."
    ),
    settings=SETTINGS,
    full=Plan(trials=5, epochs=1, options={"samples": 2000, "effort": 2.0}),
    quick=Plan(trials=1, epochs=1, options={"samples": 100, "effort": 0.5}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"samples": Number(int, 50, 20_000), "effort": Number(float, 0, 100)},
    threads=1,
)

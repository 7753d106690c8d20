"""Figure 5.13 (sec. 5.4): what k-filtering leaves of toy data is a band around the decision boundary."""

from __future__ import annotations

import statistics
from typing import Any

from effdl_fast.metrics import kept_curve, redundancy_depths
from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.points import distance_to_sinusoid, sinusoid
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

FREQUENCY = 1.0
KS = (5, 10, 20, 40)
SETTINGS: dict[str, dict[str, Any]] = {"sinusoid": {"frequency": FREQUENCY}}
BAND_LIKE = 0.8  # overlap with a band of as many points from which on the two are called similar


def run(trial: Trial) -> dict[str, Any]:
    """For each k: the share kept, its overlap with the band of as many nearest points, and how far away those are."""
    frequency = trial.setting["frequency"]
    x, y = sinusoid(trial.plan.options["samples"], frequency, trial.seed)
    depth, distance = redundancy_depths(x, y), distance_to_sinusoid(x, frequency)
    nearest = distance.argsort()
    rows = []
    for k, share in zip(KS, kept_curve(depth, KS).tolist(), strict=True):
        kept = depth < k
        band = nearest[: int(kept.sum())]
        rows.append(
            {
                "k": k,
                "kept": round(share, 6),
                "in_band": round(float(kept[band].float().mean()), 6),
                "band": round(float(distance[band].max()), 6),
                "kept_mean": round(float(distance[kept].mean()), 6),
                "all_mean": round(float(distance.mean()), 6),
            }
        )
    trial.tick("filtered")
    return {"rows": rows}


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        for found in zip(*(run["rows"] for run in result.of(label)), strict=True):
            mean = {key: statistics.fmean(row[key] for row in found) for key in found[0]}
            shares = [100 * mean["kept"], 100 * mean["in_band"]]
            rows.append([label, found[0]["k"], *shares, mean["band"], mean["kept_mean"], mean["all_mean"]])
    columns = ["Boundary", "k", "Kept %", "Of these in the band %", "Band", "Distance, kept", "Distance, all"]
    caption = (
        "Mean over trials. The band holds as many points as are kept, the nearest ones to the boundary; its half-width "
        "and the mean distances to the boundary are in units of the axes."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    x, y = sinusoid(result.plan["options"]["samples"], FREQUENCY, 0)
    depth = redundancy_depths(x, y)
    window = (-1.0, 1.0, -1.0, 1.0)
    panels = {f"all {len(x)} points": plots.Scene(x.tolist(), y.tolist(), window=window)}
    for k in sorted(KS, reverse=True):
        kept = depth < k
        panels[f"k = {k}: {int(kept.sum())} points"] = plots.Scene(x[kept].tolist(), y[kept].tolist(), window=window)
    caption = "Fig. 5.13: what k-filtering leaves of points on two sides of a boundary (seed 0)."
    return [plots.scenes("figure_5_13", caption, panels, columns=5)]


def claims(result: Result) -> list[Claim]:
    out = []
    for label in result.settings:
        found = {k: [run["rows"][i] for run in result.of(label)] for i, k in enumerate(KS)}
        overlap = [statistics.fmean(row["in_band"] for row in rows) for rows in found.values()]
        told = ", ".join(f"{100 * value:.0f} % (k = {k})" for k, value in zip(KS, overlap, strict=True))
        out.append(
            Claim(
                f"{label}: k-filtering leaves a band around the boundary",
                "similar to distance < epsilon",
                f"{told} of the kept points lie in the band of as many nearest points",
                min(overlap) >= BAND_LIKE,
            )
        )
    return out


EXPERIMENT = Experiment(
    title="k-filtering toy data",
    thesis="Fig. 5.13, sec. 5.4",
    about=(
        "Uniform points of the square [-1, 1]^2 on two sides of the boundary 0.5 sin(pi x), without noise; k-filtering "
        "among all of them. The thesis does not say what its data are."
    ),
    settings=SETTINGS,
    full=Plan(trials=10, epochs=1, options={"samples": 2000}),
    quick=Plan(trials=1, epochs=1, options={"samples": 500}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"samples": Number(int, 50, 100_000)},
    threads=1,
)

"""Figure 7.2 (secs. 7.2.3, 7.3): toy problems in the augmented space A = [X Y], and projections of it."""

from __future__ import annotations

import statistics
from typing import Any

import torch
from torch import Tensor

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.points import checkerboard
from effdl_fast.reproduce.ch7.parts.plain import with_ones
from effdl_fast.reproduce.ch7.parts.toys import separable, signs, spirals
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

SETTINGS: dict[str, dict[str, Any]] = {name: {"problem": name} for name in ("line", "spirals", "checkerboard")}
SQUARES = 4
SHOWN = 600  # points of a picture
WIDTHS = (1, 2, 3)  # of the random projections


def problem(name: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """X (m, 2) float64 and labels 0 and 1."""
    if name == "spirals":
        return spirals(count, torch.float64)
    x, labels = separable(count, seed) if name == "line" else checkerboard(count, SQUARES, seed)
    return x.double(), labels


def recovered(z: Tensor, y: Tensor) -> tuple[float, float]:
    """Of the best affine map from z (m, n) to y (m,): the percentage with the right sign, and the squared error."""
    z = with_ones(z)
    output = z @ (torch.linalg.pinv(z) @ y)
    return 100 * float(((output > 0) == (y > 0)).double().mean()), float((output - y).square().mean())


def run(trial: Trial) -> dict[str, Any]:
    """What an affine map recovers of Y from X, from A and from random projections of A."""
    x, labels = problem(trial.setting["problem"], trial.plan.options["samples"], trial.seed)
    y = signs(labels).double()
    a = torch.cat([x, y[:, None]], dim=1)
    generator = torch.Generator().manual_seed(trial.seed)
    found = {"X": recovered(x, y), "A": recovered(a, y)}
    for width in WIDTHS:
        found[f"A P, {width}"] = recovered(a @ torch.randn(3, width, generator=generator, dtype=torch.float64), y)
    trial.tick(trial.setting["problem"])
    third = a @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    rows = {key: [round(accuracy, 4), float(f"{error:.4g}")] for key, (accuracy, error) in found.items()}
    return {"recovered": rows, "exact": bool((third == y).all())}


def _mean(result: Result, label: str, key: str, which: int) -> float:
    return statistics.fmean(run["recovered"][key][which] for run in result.of(label))


def table(result: Result) -> Table:
    keys = ["X", "A", *(f"A P, {width}" for width in WIDTHS)]
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        rows.append([label, *(f"{_mean(result, label, k, 0):.1f} %, {_mean(result, label, k, 1):.2g}" for k in keys)])
    columns = ["Problem", "From X", "From A", *(f"From A P, {width} columns" for width in WIDTHS)]
    caption = (
        "Share of the labels that the best affine map recovers, and its mean squared error; means over trials. P: "
        "random normal."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels = {}
    for label, setting in result.settings.items():
        x, labels = problem(setting["problem"], SHOWN, 0)
        a = torch.cat([x, signs(labels).double()[:, None]], dim=1)
        panels[label] = plots.Space(a.tolist(), labels.tolist())
    return [plots.spaces("figure_7_2", "Fig. 7.2: toy problems in the augmented space.", panels)]


def claims(result: Result) -> list[Claim]:
    exact = [run["exact"] for label in result.settings for run in result.of(label)]
    out = [Claim("y = A [0 0 1]' exactly", "yes", f"{sum(exact)} of {len(exact)}", all(exact))]
    for label in result.settings:
        share = _mean(result, label, "A", 0)
        text = f"{label}: the plane a3 = 0 separates the classes in A"
        out.append(Claim(text, "perfectly", f"{share:.2f} %", share == 100))
        shares = [_mean(result, label, f"A P, {width}", 0) for width in WIDTHS]
        told = ", ".join(f"{s:.1f} % ({w} columns)" for w, s in zip(WIDTHS, shares, strict=True))
        out.append(Claim(f"{label}: three random projections keep them separated", "yes", told, shares[-1] == 100))
    return out


EXPERIMENT = Experiment(
    title="The augmented space",
    thesis="Fig. 7.2, sec. 7.2.3",
    about=(
        "A = [X Y] with labels -1 and 1. The thesis's three toy problems are in its picture only: here points on two "
        f"sides of a line, the two spirals of Table 7.1 and a {SQUARES} x {SQUARES} checkerboard."
    ),
    settings=SETTINGS,
    full=Plan(trials=10, epochs=1, options={"samples": 2000}),
    quick=Plan(trials=1, epochs=1, options={"samples": 200}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"samples": Number(int, 50, 10**6)},
    threads=1,
)

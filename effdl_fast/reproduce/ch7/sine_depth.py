"""Figures 7.5 and 7.6 (sec. 7.5.1): several tries for P, in networks of up to 10,000 layers fitted to the sine."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch7.parts.fits import DTYPES, distances, fit_layers, thinned
from effdl_fast.reproduce.ch7.parts.toys import sine
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

WIDTHS, TRIES = (2, 4, 8, 16), (1, 5, 10, 25, 50)
PINV = "16 units, 1 try, pinv"
SETTINGS: dict[str, dict[str, Any]] = {
    **{
        f"{w} units, {n} {'try' if n == 1 else 'tries'}": {"width": w, "tries": n, "solver": "ridge"}
        for w in WIDTHS
        for n in TRIES
    },
    PINV: {"width": 16, "tries": 1, "solver": "pinv"},
}
ALPHA, BETA = 0.1, 10.0
SETTLED = 0.2  # share of the layers after which noise is looked at: 2,000 of 10,000


def run(trial: Trial) -> dict[str, Any]:
    """The least squares distance after each layer, thinned; the lowest one; how much it jumps from layer to layer."""
    setting, options = trial.setting, trial.plan.options
    x, y = sine(options["samples"], DTYPES["float32"])
    hidden = (setting["width"],) * options["depth"]
    chosen = {"tries": setting["tries"], "solver": setting["solver"]}
    _, records = fit_layers(
        x, y, hidden=hidden, activation="celu", alpha=ALPHA, beta=BETA, l2=0.0, seed=trial.seed, **chosen
    )
    found = distances(records)
    trial.tick(f"{len(found) - 1} layers")
    places, curve = thinned(found)
    low = min(found)
    return {
        "layers": len(found) - 1,
        "lowest": low,
        "lowest_at": found.index(low),
        "noise": round(noise(found[int(SETTLED * options["depth"]) :]), 8),
        "places": places,
        "lsd": curve,
    }


def noise(values: Sequence[float]) -> float:
    """The mean factor, as |log10|, between neighbours; 0 for fewer than two."""
    logs = [math.log10(max(v, 1e-30)) for v in values]
    steps = [abs(b - a) for a, b in itertools.pairwise(logs)]
    return statistics.fmean(steps) if steps else 0.0


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        runs = result.of(label)
        lowest = [run["lowest"] for run in runs]
        rows.append(
            [
                label,
                min(run["layers"] for run in runs),
                f"{statistics.median(lowest):.2e}",
                f"{statistics.median(run['lsd'][-1] for run in runs):.2e}",
                int(result.median(label, "lowest_at")),
                f"{result.median(label, 'noise'):.1e}",
            ]
        )
    columns = ["Network", "Layers", "Lowest MSE", "MSE of the last layer", "Lowest at layer", "Noise"]
    caption = (
        "Medians over trials. Noise: the mean |log10| of the factor between neighbouring layers in the last four "
        "fifths of the network. Fewer layers than asked for: the next representation was not finite."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels: dict[str, dict[str, tuple[Sequence[float], Sequence[float]]]] = {}
    for width in reversed(WIDTHS):
        lines = {}
        for label, setting in result.settings.items():
            if setting["width"] == width:
                run = result.of(label)[0]
                name = f"n = {setting['tries']}" + (", pinv" if setting["solver"] == "pinv" else "")
                lines[name] = (run["places"][1:], run["lsd"][1:])
        panels[f"{width} units"] = lines
    first = plots.curves(
        "figure_7_5", "Fig. 7.5: error after each layer (seed 0).", panels, x="layer", y="MSE", log_y=True, columns=2
    )
    lowest = {f"nhid = {w}": (TRIES, [_lowest(result, w, n) for n in TRIES]) for w in WIDTHS}
    caption = "Fig. 7.6: the lowest error in any layer, the median over trials."
    second = plots.curves("figure_7_6", caption, {"": lowest}, x="tries", y="MSE", log_y=True)
    return [first, second]


def _label(width: int, tries: int) -> str:
    return f"{width} units, {tries} {'try' if tries == 1 else 'tries'}"


def _lowest(result: Result, width: int, tries: int) -> float:
    return result.median(_label(width, tries), "lowest")


def claims(result: Result) -> list[Claim]:
    out = []
    for width in WIDTHS:
        found = [_lowest(result, width, n) for n in TRIES]
        told = ", ".join(f"{v:.1e} (n = {n})" for n, v in zip(TRIES, found, strict=True))
        out.append(
            Claim(f"{width} units: five tries give a lower error than one", "clearly", told, found[1] < found[0])
        )
        gains = [math.log(a / b) for a, b in itertools.pairwise(found)]
        out.append(
            Claim(
                f"{width} units: going from one to five tries has the largest effect",
                "overall",
                ", ".join(f"x {math.exp(g):.2f}" for g in gains),
                gains[0] == max(gains),
            )
        )
    noises = [result.median(label, "noise") for label in (PINV, _label(16, 1), _label(16, 5))]
    told = f"{noises[0]:.1e} by pinv, {noises[1]:.1e} by moments; five tries {noises[2]:.1e}"
    text = "16 units, one try: the curve is noisy from about layer 2000 on, with more tries it is not"
    out.append(Claim(text, "yes", told, noises[0] > 3 * noises[2]))
    return out


EXPERIMENT = Experiment(
    title="Several tries, up to 10,000 layers",
    thesis="Figs. 7.5 and 7.6, sec. 7.5.1",
    about=(
        "The sine of Fig. 7.4, hidden layers of equal width, CELU, float32. The thesis does not give alpha and beta of "
        "these networks, nor its numbers of tries but 1 and 5: alpha = 0.1 and beta = 10, those of its spirals. Least "
        "squares by PlatonicMLP's moments in float64; one network by float32 pseudo-inverses, as the thesis's."
    ),
    settings=SETTINGS,
    full=Plan(trials=1, epochs=1, options={"samples": 5000, "depth": 10_000}),
    quick=Plan(trials=1, epochs=1, options={"samples": 300, "depth": 30}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"samples": Number(int, 50, 10**6), "depth": Number(int, 1, 100_000)},
    threads=1,
)

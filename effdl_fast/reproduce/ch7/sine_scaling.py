"""Figure 7.7 (sec. 7.5.2): the scaling factors alpha and beta, in networks of 100 layers fitted to the sine."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch7.parts.fits import DTYPES, distances, fit_layers, thinned
from effdl_fast.reproduce.ch7.parts.toys import sine
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

WIDTH = 8
ALPHA, BETA = 0.1, 10.0  # of the networks in which the other one changes
ALPHAS = (0.025, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
BETAS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
SETTINGS: dict[str, dict[str, Any]] = {
    **{f"alpha {a:g}": {"alpha": a, "beta": BETA, "changes": "alpha"} for a in ALPHAS},
    **{f"beta {b:g}": {"alpha": ALPHA, "beta": b, "changes": "beta"} for b in BETAS},
}


def run(trial: Trial) -> dict[str, Any]:
    """The least squares distance after each layer, thinned, as far as they are finite; the lowest and the last."""
    setting, options = trial.setting, trial.plan.options
    x, y = sine(options["samples"], DTYPES["float32"])
    _, records = fit_layers(
        x,
        y,
        hidden=(WIDTH,) * options["depth"],
        activation="celu",
        alpha=setting["alpha"],
        beta=setting["beta"],
        l2=0.0,
        seed=trial.seed,
    )
    found = distances(records)
    trial.tick(f"{len(found) - 1} layers")
    places, curve = thinned(found, 50)
    return {"places": places, "lsd": curve, "lowest": min(found), "last": found[-1], "layers": len(found) - 1}


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label, setting in result.settings.items():
        layers = [run["layers"] for run in result.of(label)]
        lowest, last = (f"{result.median(label, key):.2e}" for key in ("lowest", "last"))
        rows.append([label, setting["alpha"], setting["beta"], lowest, last, _risen(result, label), min(layers)])
    columns = ["Changed", "alpha", "beta", "Lowest MSE", "MSE of the last layer", "Last / lowest", "Layers"]
    caption = "Medians over trials; the least number of layers that stayed finite."
    return Table(columns, rows, caption)


def _risen(result: Result, label: str) -> float:
    """By how much the error rises from the best layer to the last."""
    return statistics.median(run["last"] / max(run["lowest"], 1e-30) for run in result.of(label))


def _changing(result: Result, what: str) -> dict[str, float]:
    """label -> median of the lowest error."""
    return {
        label: result.median(label, "lowest")
        for label, setting in result.settings.items()
        if setting["changes"] == what
    }


def figures(result: Result) -> list[Plot]:
    out = []
    for what, fixed in (("alpha", f"beta = {BETA:g}"), ("beta", f"alpha = {ALPHA:g}")):
        lines = {}
        for label in _changing(result, what):
            run = result.of(label)[0]
            lines[label] = (run["places"][1:], run["lsd"][1:])
        caption = f"Fig. 7.7: error after each layer, 8 units in each, {fixed} (seed 0)."
        out.append(plots.curves(f"figure_7_7_{what}", caption, {"": lines}, x="layer", y="MSE", log_y=True))
    return out


def claims(result: Result) -> list[Claim]:
    alphas, betas = _changing(result, "alpha"), _changing(result, "beta")
    told = ", ".join(f"{v:.1e} ({label})" for label, v in alphas.items())
    highest, best = list(alphas)[-1], min(alphas, key=lambda label: alphas[label])
    rise = _risen(result, highest)
    others = [betas[label] for label in betas if float(label.split()[1]) <= BETA]
    return [
        Claim("the highest alpha gives the lowest error of a layer", "yes", told, best == highest),
        Claim(
            "the highest alpha makes the process diverge in later layers",
            "yes",
            f"last / lowest {rise:.3g}, at least {min(run['layers'] for run in result.of(highest))} layers finite",
            rise > 2,
        ),
        Claim(
            "a higher beta is better",
            "yes, below about 100",
            ", ".join(f"{v:.1e} ({label})" for label, v in betas.items()),
            all(b < a for a, b in itertools.pairwise(others)),
        ),
        Claim(
            "beta = 100 makes the results worse",
            "yes",
            f"{betas['beta 100']:.1e} against {min(betas.values()):.1e} at the best",
            betas["beta 100"] > 1.1 * min(betas.values()),
        ),
    ]


EXPERIMENT = Experiment(
    title="Scaling factors alpha and beta",
    thesis="Fig. 7.7, sec. 7.5.2",
    about=(
        "The sine of Fig. 7.4, 100 layers of 8 units, CELU, one try, float32. The thesis's values of alpha and beta "
        "are in its picture only."
    ),
    settings=SETTINGS,
    full=Plan(trials=20, epochs=1, options={"samples": 5000, "depth": 100}),
    quick=Plan(trials=1, epochs=1, options={"samples": 300, "depth": 20}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"samples": Number(int, 50, 10**6), "depth": Number(int, 1, 10_000)},
    threads=1,
)

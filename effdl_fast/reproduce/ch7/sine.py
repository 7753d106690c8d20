"""Figures 7.3 and 7.4 (sec. 7.5): a 1-16-16-1 network fitted to two periods of the sine."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch7.parts.fits import DTYPES, listed
from effdl_fast.reproduce.ch7.parts.plain import pinv, random_network
from effdl_fast.reproduce.ch7.parts.toys import sine
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.solvers import PlatonicMLP

HIDDEN = 16
THESIS = 2e-5  # the mean squared error
SHOWN = 100  # points of the curve that are stored
SETTINGS: dict[str, dict[str, Any]] = {
    "listing, float32": {"dtype": "float32", "listing": True},
    "listing, float64": {"dtype": "float64", "listing": True},
    "pinv, float32": {"dtype": "float32", "solver": "pinv"},
    "moments, float32": {"dtype": "float32", "solver": "ridge"},
    "moments, float64": {"dtype": "float64", "solver": "ridge"},
}


def run(trial: Trial) -> dict[str, Any]:
    """The mean squared errors of `networks` networks, and the best one's curve."""
    setting, options = trial.setting, trial.plan.options
    x, y = sine(options["samples"], DTYPES[setting["dtype"]])
    errors, best = [], y
    for seed in range(trial.seed * options["networks"], (trial.seed + 1) * options["networks"]):
        if setting.get("listing"):
            output = random_network(x, y, (HIDDEN,) * 2, torch.celu, pinv(), seed=seed)
        else:
            chosen = listed(setting, "solver")
            model = PlatonicMLP((HIDDEN,) * 2, activation="celu", beta=1.0, l2=0.0, seed=seed, **chosen)
            output = model.fit(x, y).decision_function(x)
        errors.append(float((output - y).double().square().mean()))
        if errors[-1] == min(errors):
            best = output
    trial.tick(f"best {min(errors):.1e}")
    places = torch.linspace(0, len(x) - 1, SHOWN).long()
    curve = [[round(float(v), 5) for v in values[places]] for values in (x[:, 0], y, best)]
    return {"mse": [float(f"{e:.4g}") for e in errors], "curve": curve}


def _errors(result: Result, label: str) -> list[float]:
    return [e for run in result.of(label) for e in run["mse"]]


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        errors = _errors(result, label)
        good = 100 * sum(e < 1.5 * THESIS for e in errors) / len(errors)
        rows.append([label, len(errors), f"{THESIS:.0e}", *(f"{v:.2e}" for v in _three(errors)), good])
    columns = ["Solved by", "Networks", "Thesis's MSE", "Least", "Median", "Largest", "Below 3e-5 %"]
    return Table(columns, rows, "Mean squared error on the 5,000 samples, over networks that differ by their P.")


def _three(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def figures(result: Result) -> list[Plot]:
    panels = {}
    for label in ("listing, float32", "moments, float64"):
        runs = result.of(label)
        best = min(runs, key=lambda run: min(run["mse"]))
        x, y, output = best["curve"]
        panels[f"{label}: MSE {min(best['mse']):.1e}"] = {"sine": (x, y), "network": (x, output)}
    caption = "Fig. 7.4: the best of the networks, and the sine."
    return [plots.curves("figure_7_4", caption, panels, x="x", y="y")]


def claims(result: Result) -> list[Claim]:
    out = []
    for label in result.settings:
        errors = _errors(result, label)
        least, median, _ = _three(errors)
        told = f"{least:.1e} the best of {len(errors)}, median {median:.1e}"
        out.append(Claim(f"{label}: mean squared error", f"{THESIS:.0e}", told, least < 1.5 * THESIS))
    return out


EXPERIMENT = Experiment(
    title="Fitting a sinusoid",
    thesis="Figs. 7.3 and 7.4, sec. 7.5",
    about=(
        "1-16-16-1, CELU, two periods of the sine on (-1, 1), 5000 evenly spaced samples, alpha = beta = 1. The error "
        "depends on P, and the thesis does not say whether its network was chosen. `listing` is the code of Fig. 7.3 "
        "with torch.linalg.pinv; `pinv` and `moments` are those ways of PlatonicMLP, the second its default without "
        "ridge."
    ),
    settings=SETTINGS,
    full=Plan(trials=1, epochs=1, options={"samples": 5000, "networks": 200}),
    quick=Plan(trials=1, epochs=1, options={"samples": 500, "networks": 5}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"samples": Number(int, 50, 10**6), "networks": Number(int, 1, 100_000)},
    threads=1,
)

"""Figure 7.11 (sec. 7.7): shallow networks of growing width on the checkerboard."""

from __future__ import annotations

import itertools
from typing import Any

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.points import checkerboard
from effdl_fast.reproduce.ch7.checkerboard import SQUARES
from effdl_fast.reproduce.ch7.parts.fits import DTYPES, classified, fit_layers
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
THESIS = {1024: 95.62, 2048: 99.84}  # accuracy, percent
HIDDEN_LAYERS = 3  # "4-layer": 3 x 2048 + 1 nodes
ALPHA, BETA, TRIES, L2 = 0.08, 200.0, 5, 1e-9
WAYS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "float32, tol 1e-5": {"dtype": "float32", "atol": 1e-5},  # the tolerance of section 7.6.2
    "float64": {"dtype": "float64"},
}
SETTINGS: dict[str, dict[str, Any]] = {
    f"{w} units, {how}": {"width": w, **chosen} for how, chosen in WAYS.items() for w in WIDTHS
}


def run(trial: Trial) -> dict[str, Any]:
    """Accuracy (percent) and mean squared error on the training points; None for a width above `max_width`."""
    setting, options = trial.setting, trial.plan.options
    if setting["width"] > options["max_width"]:
        trial.tick("left out")
        return {"accuracy": None, "mse": None}
    x, y = checkerboard(options["samples"], SQUARES, trial.seed)
    x = x.to(DTYPES[setting["dtype"]])
    model, _ = fit_layers(
        x,
        y,
        hidden=(setting["width"],) * HIDDEN_LAYERS,
        activation="relu",
        alpha=ALPHA,
        beta=BETA,
        solver="pinv",
        atol=setting.get("atol"),
        l2=L2,
        tries=TRIES,
        seed=trial.seed,
    )
    found = {"accuracy": None, "mse": None} if model is None else classified(model, x, y)
    trial.tick("not finite" if model is None else f"{found['accuracy']:.2f} %")
    return found


def _value(result: Result, width: int, way: str, key: str) -> float | None:
    label = f"{width} units, {way}"
    values = [run[key] for run in result.of(label)]
    return None if None in values else result.median(label, key)


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for width in WIDTHS:
        found = [_value(result, width, way, key) for way in WAYS for key in ("accuracy", "mse")]
        rows.append([width, THESIS.get(width), *found])
    columns = ["Units", "Thesis %", *(f"{way}{unit}" for way in WAYS for unit in (" %", " MSE"))]
    caption = "Accuracy and mean squared error on the training points, medians over trials. Empty: not run."
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels: dict[str, Any] = {}
    for key, name in (("accuracy", "accuracy %"), ("mse", "MSE")):
        panels[name] = {}
        for way in WAYS:
            found = {w: _value(result, w, way, key) for w in WIDTHS}
            kept = {w: v for w, v in found.items() if v is not None}
            panels[name][way] = (list(kept), list(kept.values()))
    caption = "Fig. 7.11: accuracy and mean squared error against the width."
    return [plots.curves("figure_7_11", caption, panels, x="units in each hidden layer", y="")]


def claims(result: Result) -> list[Claim]:
    out = []
    for way in WAYS:
        for width, told in THESIS.items():
            found = _value(result, width, way, "accuracy")
            if found is not None:
                text = f"{width} units, {way}: accuracy within a point"
                out.append(Claim(text, f"{told} %", f"{found:.2f} %", abs(found - told) <= 1))
        errors = [e for w in WIDTHS if (e := _value(result, w, way, "mse")) is not None]
        falling = all(b < a for a, b in itertools.pairwise(errors))
        measured = ", ".join(f"{e:.2g}" for e in errors)
        out.append(Claim(f"{way}: the error falls with the width", "yes", measured, falling))
    return out


EXPERIMENT = Experiment(
    title="Checkerboard, width",
    thesis="Fig. 7.11, sec. 7.7",
    about=(
        "The points of Fig. 7.10, three hidden layers (the thesis counts four layers and 3 x 2048 + 1 nodes), ReLU, "
        f"alpha = {ALPHA:g}, beta = {BETA:g}, {TRIES} tries, pseudo-inverses. The thesis does not say in which "
        f"precision. The try is chosen by the error with a ridge of {L2:g}. Widths above max_width are left out."
    ),
    settings=SETTINGS,
    full=Plan(trials=1, epochs=1, options={"samples": 5000, "max_width": 2048}),
    quick=Plan(trials=1, epochs=1, options={"samples": 300, "max_width": 64}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"samples": Number(int, 50, 10**6), "max_width": Number(int, 2, 2048)},
)

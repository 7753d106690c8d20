"""Table 7.3 (sec. 7.9.3): deterministic platonic projections with three and four layers, on MNIST."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Sequence
from typing import Any

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch4.parts.cnn import WIDTH
from effdl_fast.reproduce.ch5.parts.layers import SUBSET, WHOLE, part_of
from effdl_fast.reproduce.ch7.parts.fits import classified
from effdl_fast.reproduce.ch7.parts.inputs import standardised
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.solvers import PlatonicMLP

EMA = 0.2
MIXING = 3.0  # PlatonicMLP's
THESIS: dict[str, tuple[float, float, float, float, float, float, float]] = {
    # million parameters, l2, seconds (RTX 4080), MSE and accuracy (percent) of training and test samples
    "392-50": (0.33, 0.50, 0.06, 1.5e-2, 1.5e-2, 95.07, 95.07),
    "392-250": (0.41, 0.50, 0.06, 1.0e-2, 1.1e-2, 95.54, 95.36),
    "588-350": (0.67, 0.01, 0.07, 8.6e-3, 9.0e-3, 96.50, 96.25),
    "784-392": (0.93, 0.03, 0.09, 7.6e-3, 8.4e-3, 97.04, 96.55),
    "784-588-588": (1.43, 0.01, 0.15, 6.3e-3, 7.6e-3, 97.30, 96.62),
    "1568-1200-1000": (4.32, 0.01, 0.40, 4.0e-3, 6.0e-3, 98.57, 97.32),
    "1960-1568": (4.63, 0.01, 0.39, 4.2e-3, 6.2e-3, 98.71, 97.51),
    "3136-2000-1500": (11.75, 0.05, 1.04, 2.3e-3, 5.3e-3, 99.56, 97.58),
    "6500-4500-3000": (47.89, 0.03, 4.80, 1.6e-3, 8.2e-3, 99.90, 97.83),
}
MIXED = ", mixing 10"
SETTINGS: dict[str, dict[str, Any]] = {
    label: {"hidden": [int(w) for w in label.split("-")], "l2": told[1], "parameters": told[0]}
    for label, told in THESIS.items()
}
SETTINGS |= {f"{label}{MIXED}": {**setting, "mixing": 10.0} for label, setting in SETTINGS.items()}
NEAR = 0.25  # points of accuracy


def run(trial: Trial) -> dict[str, Any]:
    """Accuracies (percent) and squared errors after the last layer and after the first; all None above
    `max_parameters`."""
    setting = trial.setting
    keys = ("train", "test", "train_mse", "test_mse", "seconds", "first")
    if setting["parameters"] > trial.plan.options["max_parameters"]:
        trial.tick("left out")
        return dict.fromkeys(keys)
    data = part_of(trial)
    x, x_test = standardised(data)
    model = PlatonicMLP(
        scaled(setting["hidden"], trial.plan.options["width"]),
        activation="relu",
        projection="pca",
        first="sorted_pca",
        l2=setting["l2"],
        ema=EMA,
        mixing=setting.get("mixing", MIXING),
        track_accuracy=True,
        seed=trial.seed,
    )
    begin = time.perf_counter()
    model.fit(x, data.y_train)
    seconds = time.perf_counter() - begin
    train, test = classified(model, x, data.y_train), classified(model, x_test, data.y_test)
    trial.tick(f"{test['accuracy']:.2f} %")
    first = model.history_[1].accuracy
    values = (train["accuracy"], test["accuracy"], train["mse"], test["mse"], seconds, 100 * (first or 0.0))
    return {key: float(f"{value:.6g}") for key, value in zip(keys, values, strict=True)}


def scaled(hidden: Sequence[int], width: float) -> list[int]:
    """The widths times the option `width`."""
    return [max(1, round(width * w)) for w in hidden]


def _median(result: Result, label: str, key: str) -> float | None:
    values = [run[key] for run in result.of(label) if run[key] is not None]
    return statistics.median(values) if values else None


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        told = THESIS[label.removesuffix(MIXED)]
        found = [_median(result, label, key) for key in ("train_mse", "test_mse", "train", "test")]
        pairs = [f"{t:g} | {'-' if v is None else f'{v:.2g}'}" for t, v in zip(told[3:5], found[:2], strict=True)]
        pairs += [f"{t:.2f} | {'-' if v is None else f'{v:.2f}'}" for t, v in zip(told[5:], found[2:], strict=True)]
        first, seconds = _median(result, label, "first"), _median(result, label, "seconds")
        rows.append([label, f"{told[0]:.2f} M", told[1], *pairs, first, told[2], seconds])
    columns = ["Widths", "Parameters", "l2", "Train MSE", "Test MSE", "Train %", "Test %"]
    columns += ["First layer, train %", "Thesis's s", "s"]
    caption = (
        "Thesis | measured, medians over trials. Times: the thesis's on an RTX 4080, ours on the machine named below, "
        "the accuracy of every layer included. -: not run."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels: dict[str, Any] = {}
    for part, place in (("train", 5), ("test", 6)):
        panel = {"thesis": ([told[0] for told in THESIS.values()], [told[place] for told in THESIS.values()])}
        for name, suffix in (("mixing 3", ""), ("mixing 10", MIXED)):
            found = {t[0]: v for label, t in THESIS.items() if (v := _median(result, label + suffix, part)) is not None}
            panel[name] = (list(found), list(found.values()))
        panels[f"{part} accuracy %"] = panel
    caption = "Table 7.3 as curves: accuracy against millions of parameters."
    return [plots.curves("table_7_3", caption, panels, x="million parameters", y="%")]


def claims(result: Result) -> list[Claim]:
    out = []
    for suffix in ("", MIXED):
        labels = [f"{label}{suffix}" for label in THESIS if _median(result, label + suffix, "test") is not None]
        out += _claims(result, labels, suffix)
    return out


def _claims(result: Result, labels: Sequence[str], suffix: str) -> list[Claim]:
    out = []
    for part, place in (("train", 5), ("test", 6)):
        found = {label: _median(result, label, part) or 0.0 for label in labels}
        for label, value in found.items():
            told = THESIS[label.removesuffix(suffix)][place]
            text = f"{label}: {part} accuracy within {NEAR:g} points"
            measured = f"{value:.2f} % ({value - told:+.2f})"
            out.append(Claim(text, f"{told:.2f} %", measured, abs(value - told) <= NEAR))
        rising = all(a < b for a, b in itertools.pairwise(found.values()))
        shown = ", ".join(f"{v:.2f}" for v in found.values())
        text = f"{part} accuracy strictly increases with the parameters{suffix}"
        out.append(Claim(text, "yes", shown, rising))
    gains = {label: (_median(result, label, "train") or 0) - (_median(result, label, "first") or 0) for label in labels}
    shown = ", ".join(f"{v:+.2f} ({label.removesuffix(suffix)})" for label, v in gains.items())
    text = f"Further layers are better than the first alone (training accuracy){suffix}"
    out.append(Claim(text, "yes", shown, min(gains.values(), default=0.0) > 0))
    return out


EXPERIMENT = Experiment(
    title="Three and four layers on MNIST",
    thesis="Table 7.3, sec. 7.9.3",
    about=(
        "Sorted PCA for the first layer (no bias), then Platonic PCA of [Z, beta d Y] about the origin with the "
        "columns of T positive, d in T as well, lambda = 0.2, and the components after the first ten drawn as single "
        "precision leaves them (`mixing` 3, or 10), beta = 1e7, alpha = 1, the table's l2. "
        "table_7_3_readings compares other readings. Inputs as for Table 7.2. Architectures above max_parameters "
        "(million) are left out."
    ),
    settings=SETTINGS,
    full=Plan(trials=1, epochs=1, data="torchvision:MNIST", options={**WHOLE, "width": 1.0, "max_parameters": 12.0}),
    original=Plan(
        trials=1, epochs=1, data="torchvision:MNIST", options={**WHOLE, "width": 1.0, "max_parameters": 50.0}
    ),
    quick=Plan(
        trials=1,
        epochs=1,
        data="digits",
        options={"train_samples": 400, "test_samples": 200, "width": 0.1, "max_parameters": 12.0},
        smoke=True,
    ),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**SUBSET, "width": WIDTH, "max_parameters": Number(float, 0, 1000)},
)

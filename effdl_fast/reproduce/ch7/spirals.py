"""Table 7.1 (sec. 7.6): numerical stability of platonic projections on the two spirals."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import torch

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch7.parts import plain
from effdl_fast.reproduce.ch7.parts.fits import DTYPES, fit_layers, spread
from effdl_fast.reproduce.ch7.parts.toys import TURNS, signs, spirals
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

HIDDEN = (32,) * 4
L2 = 1e-8
TOLERANCE = 1e-5
SCALING = {"alpha 0.1, beta 10": (0.1, 10.0), "alpha 1, beta 2": (1.0, 2.0)}
COLUMNS = {"32 bits": ("float32", None), "32 bits, tol 1e-5": ("float32", TOLERANCE), "64 bits": ("float64", None)}
Told = tuple[float, float] | None  # mean and standard deviation of the accuracy on the CPU, percent; None: it failed
THESIS: dict[str, dict[str, list[Told]]] = {
    "alpha 0.1, beta 10": {
        "pinv": [(80.25, 8.11), (87.16, 2.51), (99.17, 1.63)],
        "lstsq": [(61.92, 8.75), (87.75, 11.33), (98.50, 2.57)],
        "solve": [None, None, (94.87, 2.43)],
    },
    "alpha 1, beta 2": {
        "pinv": [(97.46, 1.80), (99.83, 0.36), (99.93, 0.19)],
        "lstsq": [(95.95, 3.04), (95.70, 10.28), (99.93, 0.17)],
        "solve": [None, None, (99.95, 0.15)],
    },
}
OURS, PLAIN_OURS = "moments", "moments, no ridge"
SETTINGS: dict[str, dict[str, Any]] = {}
for _scaling, (_alpha, _beta) in SCALING.items():
    for _method, _thesis in THESIS[_scaling].items():
        for (_column, (_dtype, _tolerance)), _value in zip(COLUMNS.items(), _thesis, strict=True):
            if _method != "solve" or _tolerance is None:  # solve has no tolerance
                SETTINGS[f"{_method}, {_column}, {_scaling}"] = {
                    "method": _method,
                    "dtype": _dtype,
                    "tolerance": _tolerance,
                    "alpha": _alpha,
                    "beta": _beta,
                    "scaling": _scaling,
                    "thesis": _value,
                }
    for _method, _dtype in itertools.product((OURS, PLAIN_OURS), DTYPES):
        SETTINGS[f"{_method}, {_dtype[-2:]} bits, {_scaling}"] = {
            "method": _method,
            "dtype": _dtype,
            "tolerance": None,
            "alpha": _alpha,
            "beta": _beta,
            "scaling": _scaling,
        }


def run(trial: Trial) -> dict[str, Any]:
    """The accuracies of `networks` networks; None for one whose solver failed or was not finite."""
    setting, options = trial.setting, trial.plan.options
    x, labels = spirals(options["samples"], DTYPES[setting["dtype"]])
    accuracies: list[float | None] = []
    for seed in range(trial.seed * options["networks"], (trial.seed + 1) * options["networks"]):
        output = _output(setting, x, labels, seed)
        right = None if output is None else float(((output > 0) == (labels > 0)).float().mean())
        accuracies.append(None if right is None else round(100 * right, 4))
    trial.tick(f"{len(accuracies)} networks")
    return {"accuracy": accuracies}


def _output(setting: Any, x: torch.Tensor, labels: torch.Tensor, seed: int) -> torch.Tensor | None:
    scaling = {"alpha": setting["alpha"], "beta": setting["beta"]}
    if setting["method"] in (OURS, PLAIN_OURS):
        l2 = L2 if setting["method"] == OURS else 0.0
        model, _ = fit_layers(x, labels, hidden=HIDDEN, activation="tanh", l2=l2, seed=seed, **scaling)
        return None if model is None else model.decision_function(x)
    tolerance = setting["tolerance"]
    method = {"pinv": plain.pinv(tolerance), "lstsq": plain.lstsq(tolerance), "solve": plain.solve(L2)}
    y = signs(labels).to(x.dtype)
    try:
        output = plain.random_network(x, y, HIDDEN, torch.tanh, method[setting["method"]], seed=seed, **scaling)
    except torch.linalg.LinAlgError:
        return None
    return output if bool(output.isfinite().all()) else None


def _accuracies(result: Result, label: str) -> list[float]:
    return [a for run in result.of(label) for a in run["accuracy"] if a is not None]


def _failed(result: Result, label: str) -> int:
    return sum(a is None for run in result.of(label) for a in run["accuracy"])


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label, setting in result.settings.items():
        found = _accuracies(result, label)
        precision = f"{setting['dtype'][-2:]} bits" + (", tol 1e-5" if setting["tolerance"] else "")
        told = _told(setting["thesis"]) if "thesis" in setting else ""
        ours = spread(found) if found else "failed"
        rows.append([setting["scaling"], setting["method"], precision, told, ours, len(found), _failed(result, label)])
    columns = ["Scaling", "Method", "Precision", "Thesis, CPU", "Measured", "Networks", "Failed"]
    caption = (
        f"Accuracy in percent on the training samples, mean and standard deviation. {OURS}: PlatonicMLP's default, "
        "with the L2 of `solve` or none; the others are the thesis's recipes in plain PyTorch."
    )
    return Table(columns, rows, caption)


def _told(value: Told) -> str:
    return "failed" if value is None else f"{value[0]:.2f} ± {value[1]:.2f}"


def figures(result: Result) -> list[Plot]:
    x, labels = spirals(result.plan["options"]["samples"])
    scene = plots.Scene(x.tolist(), labels.tolist())
    caption = f"Fig. 7.8: the two spirals, {TURNS:g} turns each; the thesis's generator is not given."
    return [plots.scenes("figure_7_8", caption, {f"{len(x)} samples": scene})]


def claims(result: Result) -> list[Claim]:
    out = []
    for label, setting in result.settings.items():
        if "thesis" not in setting:
            continue
        found, told = _accuracies(result, label), setting["thesis"]
        if told is None:
            failed = _failed(result, label)
            measured = f"{failed} of {failed + len(found)} failed" + (f", the others {spread(found)}" if found else "")
            out.append(Claim(label, "failed", measured, failed > 0))
        else:
            near = bool(found) and abs(statistics.fmean(found) - told[0]) <= max(told[1], 1.0)
            measured = spread(found) if found else "failed"
            out.append(Claim(f"{label}: within a standard deviation (or a point)", _told(told), measured, near))
    for scaling in SCALING:
        means = {}
        for method in ("pinv", "lstsq", PLAIN_OURS):
            for column in ("32 bits", "64 bits"):
                found = _accuracies(result, f"{method}, {column}, {scaling}")
                means[method, column] = statistics.fmean(found) if found else 0.0
        better = all(means[m, "64 bits"] >= means[m, "32 bits"] for m in ("pinv", "lstsq"))
        measured = "; ".join(
            f"{m} {means[m, '32 bits']:.2f} and {means[m, '64 bits']:.2f}" for m in ("pinv", "lstsq", PLAIN_OURS)
        )
        out.append(Claim(f"{scaling}: 64 bits give the best results", "yes", f"32 and 64 bits: {measured}", better))
    return out


EXPERIMENT = Experiment(
    title="Two spirals, numerical stability",
    thesis="Table 7.1, sec. 7.6",
    about=(
        f"2-32-32-32-32-1, tanh, labels -1 and 1, 5000 samples, one try. The thesis does not give its generator: two "
        f"spirals of {TURNS:g} turns, evenly spaced in the angle, radius from 0 to 1, without noise; the samples are "
        "the same in all networks, P differs. Chosen as the simplest of those that come near the thesis's numbers, "
        "among 1.25 to 3 turns and radii of 1 to 6.5. The low L2 penalty of `solve` is not given: "
        f"{L2:g}. tol: the absolute tolerance of torch.linalg.pinv, the relative one of torch.linalg.lstsq."
    ),
    settings=SETTINGS,
    full=Plan(trials=1, epochs=1, options={"samples": 5000, "networks": 300}),
    original=Plan(trials=1, epochs=1, options={"samples": 5000, "networks": 1000}),
    quick=Plan(trials=1, epochs=1, options={"samples": 400, "networks": 2}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={"samples": Number(int, 50, 10**6), "networks": Number(int, 1, 100_000)},
    threads=1,
)

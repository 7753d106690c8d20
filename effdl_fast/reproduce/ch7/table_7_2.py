"""Table 7.2 and Figure 7.15 (sec. 7.9.2): four ways to weights of one hidden layer, on MNIST."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.layers import SUBSET, WHOLE, part_of
from effdl_fast.reproduce.ch7.parts.fits import classified, spread
from effdl_fast.reproduce.ch7.parts.inputs import standardised
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.solvers import ELM, PlatonicMLP

L2 = 50_000.0
RANDOM_W, RANDOM_P, PCA, SORTED = "random W", "random P", "Platonic PCA", "Sorted PCA"
PARAMETERS: dict[str, dict[str, Any]] = {
    RANDOM_W: {},
    RANDOM_P: {"projection": "random", "beta": 10.0},
    PCA: {"projection": "pca", "beta": 10_000.0, "mixing": 0.0},
    SORTED: {"projection": "pca", "beta": 10_000.0, "first": "sorted_pca"},
    f"{RANDOM_P}, beta 150": {"projection": "random", "beta": 150.0},
    f"{PCA}, mixing 10": {"projection": "pca", "beta": 10_000.0, "mixing": 10.0},
    f"{PCA}, mixing 30": {"projection": "pca", "beta": 10_000.0, "mixing": 30.0},
}
TABLE_WIDTHS = (98, 196, 392, 784, 1568)
WIDTHS = (24, 49, *TABLE_WIDTHS)  # of the figure
THESIS: dict[str, dict[str, list[tuple[float, float] | None]]] = {  # mean and standard deviation, percent
    "train": {
        RANDOM_W: [(76.32, 0.81), (83.17, 0.34), (87.98, 0.22), (91.66, 0.12), (94.51, 0.07)],
        RANDOM_P: [(88.84, 0.17), (90.41, 0.11), (91.98, 0.08), (93.63, 0.06), (95.26, 0.05)],
        PCA: [(88.85, 0.0), (89.52, 0.0), (90.58, 0.0), (91.53, 0.0), None],
        SORTED: [(85.64, 0.0), (90.31, 0.0), (92.89, 0.0), (94.87, 0.0), (96.38, 0.0)],
    },
    "test": {
        RANDOM_W: [(77.28, 0.89), (83.86, 0.40), (88.26, 0.28), (91.52, 0.23), (93.89, 0.15)],
        RANDOM_P: [(89.19, 0.22), (90.55, 0.14), (91.89, 0.13), (93.34, 0.12), (94.63, 0.11)],
        PCA: [(89.21, 0.0), (89.76, 0.0), (90.63, 0.0), (91.36, 0.0), None],
        SORTED: [(86.19, 0.0), (90.71, 0.0), (93.14, 0.0), (94.64, 0.0), (95.88, 0.0)],
    },
}
EXACT = (PCA, SORTED)  # without random numbers
NEAR = 0.5  # points of accuracy
METHODS = (RANDOM_W, RANDOM_P, PCA, SORTED)  # the thesis's; the others are readings of them
SETTINGS: dict[str, dict[str, Any]] = {f"{m}, {w}": {"method": m, "width": w} for m in PARAMETERS for w in WIDTHS}


def run(trial: Trial) -> dict[str, Any]:
    """Accuracies (percent) and squared errors of `networks` networks, of one where the method is deterministic."""
    setting, data = trial.setting, part_of(trial)
    count = trial.plan.options["networks"] if setting["method"] not in EXACT else 1
    x, x_test = standardised(data)
    out: dict[str, Any] = {"train": [], "test": [], "train_mse": [], "test_mse": [], "seconds": []}
    inputs, outputs = x.shape[1] + 1, len(data.classes)
    if setting["width"] > inputs + (1 if outputs == 2 else outputs) and setting["method"] == PCA:
        trial.tick("more units than components")
        return out
    for seed in range(trial.seed * count, (trial.seed + 1) * count):
        begin = time.perf_counter()
        model = _fitted(setting, x, data.y_train, seed)
        out["seconds"].append(round(time.perf_counter() - begin, 3))
        for part, inside, labels in (("train", x, data.y_train), ("test", x_test, data.y_test)):
            found = classified(model, inside, labels)
            out[part].append(round(found["accuracy"], 4))
            out[f"{part}_mse"].append(float(f"{found['mse']:.4g}"))
    trial.tick(f"{statistics.fmean(out['test']):.2f} %")
    return out


def _fitted(setting: Any, x: Tensor, y: Tensor, seed: int) -> ELM | PlatonicMLP:
    kind = ELM if setting["method"] == RANDOM_W else PlatonicMLP
    parameters = PARAMETERS[setting["method"]]
    model = kind((setting["width"],), activation="relu", l2=L2, seed=seed, **parameters)
    model.fit(x, y)
    return model


def thesis(part: str, method: str) -> list[tuple[float, float] | None]:
    """The table's row that a method belongs to."""
    return THESIS[part][method.split(",")[0]]


def _values(result: Result, method: str, width: int, key: str) -> list[float]:
    return [v for run in result.of(f"{method}, {width}") for v in run[key]]


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for part in ("train", "test"):
        for method in PARAMETERS:
            row: list[str | float | None] = [part, method]
            for width, told in zip(TABLE_WIDTHS, thesis(part, method), strict=True):
                found = _values(result, method, width, part)
                theirs = "-" if told is None else f"{told[0]:.2f}" + (f" ± {told[1]:.2f}" if told[1] else "")
                ours = (f"{statistics.fmean(found):.2f}" if method in EXACT else spread(found)) if found else "-"
                row.append(f"{theirs} | {ours}")
            rows.append(row)
    columns = ["Part", "Hidden weights", *(f"width {w}" for w in TABLE_WIDTHS)]
    count = len(_values(result, RANDOM_W, TABLE_WIDTHS[0], "test"))
    caption = f"Accuracy in percent, thesis | measured; random ones mean and standard deviation over {count} networks."
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels: dict[str, Any] = {}
    for part in ("train", "test"):
        for key, name in ((part, f"{part} accuracy %"), (f"{part}_mse", f"{part} MSE")):
            panels[name] = {}
            for method in PARAMETERS:
                lines = [(w, _best(result, method, w, key)) for w in WIDTHS if _values(result, method, w, key)]
                panels[name][method] = tuple(zip(*lines, strict=True))
    caption = "Fig. 7.15: accuracy and mean squared error against the width; the random ones are those best in test."
    return [plots.curves("figure_7_15", caption, panels, x="hidden units", y="", columns=2)]


def _best(result: Result, method: str, width: int, key: str) -> float:
    """`key` of the network with the highest test accuracy."""
    test = _values(result, method, width, "test")
    return _values(result, method, width, key)[test.index(max(test))]


def claims(result: Result) -> list[Claim]:
    out = []
    means = {
        (part, m, w): statistics.fmean(found)
        for part in ("train", "test")
        for m in PARAMETERS
        for w in TABLE_WIDTHS
        if (found := _values(result, m, w, part))
    }
    for method in PARAMETERS:
        gaps = {
            w: means["test", method, w] - told[0]
            for w, told in zip(TABLE_WIDTHS, thesis("test", method), strict=True)
            if told is not None and ("test", method, w) in means
        }
        text = f"{method}: test accuracy within {NEAR:g} points at all widths"
        out.append(Claim(text, "Table 7.2", _by_width(gaps), all(abs(gap) <= NEAR for gap in gaps.values())))
    for random_p, pca in ((RANDOM_P, PCA), (f"{RANDOM_P}, beta 150", f"{PCA}, mixing 10")):
        platonic, note = (random_p, pca, SORTED), "" if pca == PCA else " (readings)"
        worst = {
            w: min(means["test", m, w] for m in platonic if ("test", m, w) in means) - means["test", RANDOM_W, w]
            for w in TABLE_WIDTHS
        }
        text = f"Platonic projections beat random weights at all widths{note}: points of the worst of them"
        told = "yes, though at 784 its table has -0.16"
        out.append(Claim(text, told, _by_width(worst), min(worst.values()) > 0))
        leads = {w: means["test", SORTED, w] - means["test", random_p, w] for w in TABLE_WIDTHS}
        holds = all((lead > 0) == (w > TABLE_WIDTHS[0]) for w, lead in leads.items())
        out.append(Claim(f"Sorted PCA beats random P, but for the narrowest{note}", "yes", _by_width(leads), holds))
        gains = {
            w: statistics.fmean(_values(result, random_p, w, "test_mse")) - _values(result, SORTED, w, "test_mse")[0]
            for w in TABLE_WIDTHS
        }
        text = f"Random P has a lower test MSE than Sorted PCA{note}"
        out.append(Claim(text, "consistently", _by_width(gains, 4), all(v < 0 for v in gains.values())))
    return out


def _by_width(values: Mapping[int, float], digits: int = 2) -> str:
    return ", ".join(f"{v:+.{digits}f} ({w})" for w, v in values.items())


EXPERIMENT = Experiment(
    title="One hidden layer on MNIST",
    thesis="Table 7.2 and Fig. 7.15, sec. 7.9.2",
    about=(
        "ReLU, alpha = 1, l2 = 50,000, beta = 10,000 (PCA) or 10 (random P), the thesis's values. Inputs: x / 255, "
        "each pixel shifted by its mean and divided by its standard deviation + 0.01. Random W: N(0, 1), biases too. "
        "Platonic PCA is exact, in float64, about the origin; Sorted PCA has no hidden bias. Other readings are "
        "added: random P with beta = 150, and Platonic PCA whose components after the first ten are drawn, as single "
        "precision leaves them where beta is large (`mixing`). The widths of Fig. 7.15 are not given."
    ),
    settings=SETTINGS,
    full=Plan(trials=1, epochs=1, data="torchvision:MNIST", options={**WHOLE, "networks": 5}),
    original=Plan(trials=1, epochs=1, data="torchvision:MNIST", options={**WHOLE, "networks": 100}),
    quick=Plan(
        trials=1,
        epochs=1,
        data="digits",
        options={"train_samples": 400, "test_samples": 200, "networks": 2},
        smoke=True,
    ),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**SUBSET, "networks": Number(int, 1, 10_000)},
)

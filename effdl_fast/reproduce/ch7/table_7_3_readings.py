"""Table 7.3 (sec. 7.9.3), two of its rows: which reading of the method gives the thesis's numbers."""

from __future__ import annotations

import time
from typing import Any

from torch import Tensor, nn

from effdl_fast.data import Dataset
from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch4.parts.cnn import WIDTH
from effdl_fast.reproduce.ch5.parts.layers import SUBSET, WHOLE, part_of
from effdl_fast.reproduce.ch7.parts.fits import BLOCK, DTYPES, classified
from effdl_fast.reproduce.ch7.parts.inputs import standardised
from effdl_fast.reproduce.ch7.parts.plain import Reading, pca_network
from effdl_fast.reproduce.ch7.table_7_3 import SETTINGS as ARCHITECTURES
from effdl_fast.reproduce.ch7.table_7_3 import THESIS, scaled
from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.solvers import PlatonicMLP

SHOWN = ("784-392", "392-50")
FLOAT32, DRAWN = "float32, plain torch", "drawn, mixing 10"
LESS, UNWEIGHTED = f"{DRAWN}, lambda 0.02", f"{DRAWN}, no weights"
READINGS: dict[str, dict[str, Any]] = {
    FLOAT32: {"dtype": "float32", "beta": 8e7, "scale": 1e-3},
    "float64, plain torch": {"dtype": "float64", "signs": "sum"},
    "about the mean": {"dtype": "float64", "signs": "sum", "centred": True},
    "signs as they come": {"dtype": "float64", "signs": "any"},
    "about the mean, signs as they come": {"dtype": "float64", "signs": "any", "centred": True},
    "d not in T": {"dtype": "float64", "signs": "sum", "weigh_targets": False},
    "exact, lambda 0.2": {"mixing": 0.0, "ema": 0.2},
    "drawn, mixing 3": {"ema": 0.2, "mixing": 3.0},
    DRAWN: {"ema": 0.2, "mixing": 10.0},
    "drawn, mixing 30": {"ema": 0.2, "mixing": 30.0},
    LESS: {"ema": 0.02, "mixing": 10.0},
    UNWEIGHTED: {"ema": None, "mixing": 10.0},
    f"{FLOAT32}, reversed": {"dtype": "float32", "beta": 8e7, "scale": 1e-3, "reverse": True},
    "exact, lambda 0.2, reversed": {"mixing": 0.0, "ema": 0.2, "reverse": True},
    f"{DRAWN}, reversed": {"ema": 0.2, "mixing": 10.0, "reverse": True},
}
SETTINGS: dict[str, dict[str, Any]] = {
    f"{shape}, {label}": {"shape": shape, "reading": label, **how} for shape in SHOWN for label, how in READINGS.items()
}
NEAR = 0.15  # points of accuracy


def run(trial: Trial) -> dict[str, Any]:
    """Accuracies (percent) and squared errors."""
    setting, data = trial.setting, part_of(trial)
    x, x_test = standardised(data)
    if setting.get("reverse"):  # the same network, but for the order of the samples along the first component
        x, x_test = -x, -x_test
    begin = time.perf_counter()
    found = _fit(setting, x, data, trial.plan.options["width"])
    seconds = time.perf_counter() - begin
    out = {"seconds": round(seconds, 2)}
    for part, inside, labels in (("train", x, data.y_train), ("test", x_test, data.y_test)):
        scores = classified(found, inside, labels) if isinstance(found, PlatonicMLP) else _scores(found, inside, labels)
        out |= {part: round(scores["accuracy"], 4), f"{part}_mse": float(f"{scores['mse']:.5g}")}
    trial.tick(f"{out['test']:.2f} %")
    return out


def _fit(setting: Any, x: Tensor, data: Dataset, width: float) -> Any:
    shape = ARCHITECTURES[setting["shape"]]
    hidden = scaled(shape["hidden"], width)
    chosen = {key: setting[key] for key in setting if key not in ("shape", "reading", "reverse")}
    if "dtype" in chosen:
        y = nn.functional.one_hot(data.y_train, len(data.classes)).to(x.dtype)
        reading = Reading(**{**chosen, "dtype": DTYPES[chosen["dtype"]]})
        return pca_network(x, y, hidden, shape["l2"], reading)
    model = PlatonicMLP(
        hidden, activation="relu", projection="pca", first="sorted_pca", l2=shape["l2"], seed=0, **chosen
    )
    return model.fit(x, data.y_train)


def _scores(network: Any, x: Tensor, labels: Tensor) -> dict[str, float]:
    right, error = 0, 0.0
    for part, y in zip(x.split(BLOCK), labels.split(BLOCK), strict=True):
        output = network(part)
        right += int((output.argmax(dim=1) == y).sum())
        error += float((output - nn.functional.one_hot(y, output.shape[1])).double().square().sum(1).sum())
        columns = output.shape[1]
    return {"accuracy": 100 * right / len(x), "mse": error / len(x) / columns}


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for shape in SHOWN:
        told = THESIS[shape]
        rows.append([shape, "thesis", told[5], told[6], f"{told[3]:.4f}", f"{told[4]:.4f}", told[2]])
        for label in READINGS:
            found = [result.median(f"{shape}, {label}", key) for key in ("train", "test", "train_mse", "test_mse")]
            seconds = result.median(f"{shape}, {label}", "seconds")
            rows.append([shape, label, *found[:2], *(f"{v:.4f}" for v in found[2:]), seconds])
    columns = ["Widths", "Reading", "Train %", "Test %", "Train MSE", "Test MSE", "s"]
    caption = "Medians over trials; the thesis's seconds are an RTX 4080's."
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    rows = {}
    for shape in SHOWN:
        for label in READINGS:
            thesis = THESIS[shape]
            error = {part: 100 - result.median(f"{shape}, {label}", part) for part in ("train", "test")}
            ratios = {"train": error["train"] / (100 - thesis[5]), "test": error["test"] / (100 - thesis[6])}
            rows[f"{shape}, {label}"] = {part: max(ratio, 1e-3) for part, ratio in ratios.items()}
    caption = "Errors of the readings relative to those of Table 7.3, logarithmic; at the line they are equal."
    return [plots.dots("readings", caption, rows, x="error rate / thesis's", line=1.0)]


def claims(result: Result) -> list[Claim]:
    out = []
    for shape in SHOWN:
        told = THESIS[shape]
        for label in READINGS:
            train, test = (result.median(f"{shape}, {label}", part) for part in ("train", "test"))
            near = abs(train - told[5]) <= NEAR and abs(test - told[6]) <= NEAR
            text = f"{shape}, {label}: training and test accuracy within {NEAR:g} points"
            out.append(Claim(text, f"{told[5]:.2f} and {told[6]:.2f} %", f"{train:.2f} and {test:.2f} %", near))
        gain = result.median(f"{shape}, {DRAWN}", "test") - result.median(f"{shape}, {UNWEIGHTED}", "test")
        text = f"{shape}: re-weighting improves the (test) accuracy"
        out.append(Claim(text, "0.5 to 1.5 points", f"{gain:+.2f}", 0.25 <= gain <= 1.75))
    return out


EXPERIMENT = Experiment(
    title="Readings of Table 7.3",
    thesis="Table 7.3, sec. 7.9.3",
    about=(
        "Sorted PCA first; then, unless the row says otherwise: principal components of A = [Z, beta d Y] about the "
        "origin, the columns of T = A P positive, d in T too, lambda = 0.2, beta = 1e7. Plain torch: A and T are "
        "formed; in float32 with beta = 8e7, the representations scaled by 0.001 and the largest entry of each column "
        "of T positive. Exact and drawn: PlatonicMLP with mixing = 0 and more. Reversed: Sorted PCA along the "
        "first component the other way round, which picks other samples. Least squares in float64 with the table's l2."
    ),
    settings=SETTINGS,
    full=Plan(trials=1, epochs=1, data="torchvision:MNIST", options={**WHOLE, "width": 1.0}),
    quick=Plan(
        trials=1, epochs=1, data="digits", options={"train_samples": 200, "test_samples": 100, "width": 0.1}, smoke=True
    ),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**SUBSET, "width": WIDTH},
)

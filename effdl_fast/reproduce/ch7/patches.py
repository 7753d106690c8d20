"""Future work 8 (sec. 7.10.3): a convolutional first layer, of patches."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from torch import Tensor

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.layers import SUBSET, WHOLE, part_of
from effdl_fast.reproduce.ch7.parts.fits import classified
from effdl_fast.reproduce.ch7.parts.inputs import standardised
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.solvers import PatchFeatures, PlatonicMLP

PIXELS = "pixels"
MLPS: dict[str, dict[str, Any]] = {
    "no hidden layer": {"layers": 0},
    "one hidden layer": {"layers": 1, "projection": "pca"},
    "one of Sorted PCA": {"layers": 1, "first": "sorted_pca"},
    "two, Sorted and Platonic PCA": {"layers": 2, "first": "sorted_pca", "projection": "pca", "ema": 0.2},
}
L2 = {PIXELS: (3e3, 1e4, 3e4), "patches": (3e2, 1e3, 3e3)}  # the best on held out samples of the training part is used
SETTINGS: dict[str, dict[str, Any]] = {
    f"{source}, {name}": {"source": source, "network": name} for source in L2 for name in MLPS
}


def run(trial: Trial) -> dict[str, Any]:
    """Accuracies of a network, its l2 chosen on a fifth of the training samples."""
    data, options = part_of(trial), trial.plan.options
    held = len(data.x_train) // 5
    if trial.setting["source"] == PIXELS:
        x, x_test = standardised(data)
    else:
        features = PatchFeatures(options["filters"], size=options["size"], seed=trial.seed).fit(data.x_train[held:])
        x, x_test = features(data.x_train), features(data.x_test)
    make = _network(trial)
    best: tuple[float, float] = (-1.0, 0.0)
    for l2 in L2[trial.setting["source"]]:
        model = make(l2, x[held:], data.y_train[held:])
        best = max(best, (classified(model, x[:held], data.y_train[:held])["accuracy"], l2))
        trial.tick(f"l2 = {l2:g}")
    model = make(best[1], x, data.y_train)
    train, test = classified(model, x, data.y_train), classified(model, x_test, data.y_test)
    return {"train_accuracy": train["accuracy"], "test_accuracy": test["accuracy"], "l2": best[1]}


def _network(trial: Trial) -> Callable[[float, Tensor, Tensor], PlatonicMLP]:
    parameters = dict(MLPS[trial.setting["network"]])
    options = trial.plan.options
    hidden = (options["width"], options["width_2"])[: parameters.pop("layers")]
    return lambda l2, x, y: PlatonicMLP(hidden, l2=l2, seed=trial.seed, **parameters).fit(x, y)


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = [
        [label, *(result.median(label, key) for key in ("train_accuracy", "test_accuracy", "l2"))]
        for label in result.settings
    ]
    return Table(["Input, network", "Train %", "Test %", "l2"], rows, "Medians over trials.")


def figures(result: Result) -> list[Plot]:
    panels: dict[str, Any] = {"test accuracy": {}}
    for source in L2:
        values = [result.median(f"{source}, {name}", "test_accuracy") for name in MLPS]
        panels["test accuracy"][source] = (list(range(len(values))), values)
    caption = "Test accuracy; networks in the order of the table."
    return [plots.curves("patches", caption, panels, x="network", y="test accuracy %")]


def claims(result: Result) -> list[Claim]:
    best = {
        source: max(statistics.fmean(run["test_accuracy"] for run in result.of(f"{source}, {name}")) for name in MLPS)
        for source in L2
    }
    gain = best["patches"] - best[PIXELS]
    return [Claim("A convolutional first layer helps", "asked (future work 8)", f"{gain:+.1f} points", gain > 0)]


WIDTH = Number(int, 1, 20_000)
EXPERIMENT = Experiment(
    title="Patches before platonic projections",
    thesis="future work 8, sec. 7.10.3",
    about=(
        "Networks in closed form on the pixels of images, standardised as for Table 7.2, and on the features of "
        "PatchFeatures, whose filters are whitened patches of the training images. The l2 of each is the one of three "
        "that is best on the first fifth of the training samples, left out of the fit then."
    ),
    settings=SETTINGS,
    full=Plan(
        trials=3,
        epochs=3,
        data="torchvision:CIFAR10",
        options={**WHOLE, "filters": 256, "size": 6, "width": 500, "width_2": 250},
    ),
    quick=Plan(
        trials=1,
        epochs=3,
        data="digits",
        options={"train_samples": 400, "test_samples": 200, "filters": 16, "size": 3, "width": 24, "width_2": 16},
        smoke=True,
    ),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**SUBSET, "filters": WIDTH, "size": Number(int, 1, 64), "width": WIDTH, "width_2": WIDTH},
)

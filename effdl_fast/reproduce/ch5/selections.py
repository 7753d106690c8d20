"""Figures 5.18 to 5.20 (sec. 5.5.4): which classes the features of an MLP select while it learns."""

from __future__ import annotations

import math
import statistics
from typing import Any

from torch import Tensor, nn

from effdl_fast.data import Dataset
from effdl_fast.metrics import conditional_entropy, selections
from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.layers import (
    PROBE,
    SUBSET,
    WHOLE,
    mlp,
    part_of,
    random_part,
    representations,
    watch,
)
from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.reproduce.train import Observer, error_rate

HIDDEN = (300, 50)
LAYERS = ("layer 1", "layer 2", "layer 3")
FEATURES = 2  # shown of each layer
THESIS = ((3.26, 3.12), (3.26, 2.55), (3.03, 0.09))  # H(Y|Z) of the first feature, before training and after it
SETTINGS: dict[str, dict[str, Any]] = {
    "softmax": {"output": "softmax", "lr": 0.1, "batch_size": 100},
    "sigmoid": {"output": "sigmoid", "lr": 0.1, "batch_size": 100},
    "squared error, rectified": {"output": "linear", "lr": 0.05, "batch_size": 100, "rectified": True},
}
SHOWN = "sigmoid"  # in the figures: nearest to the thesis's figures


class Probe(Observer):
    """For each epoch and layer: H(Y|Z) of all features, and the class counts of the first ones' selections."""

    def __init__(self, model: nn.Module, data: Dataset, samples: int) -> None:
        self.model, self.data = model, data
        self.x, self.y = random_part(data.x_train, data.y_train, samples)
        self.counts: list[list[list[list[int]]]] = [[] for _ in LAYERS]  # [layer][epoch][feature][class]
        self.entropy: list[list[list[float | None]]] = [[] for _ in LAYERS]  # [layer][epoch][feature]
        self.mean: list[list[float | None]] = [[] for _ in LAYERS]  # [layer][epoch]
        self.test_error: list[float] = []

    def after_epoch(self, epoch: int) -> None:
        self.test_error.append(error_rate(self.model, self.data.x_test, self.data.y_test))
        for k, z in enumerate(representations(self.model, self.x)):
            found = conditional_entropy(z, self.y)
            self.entropy[k].append([_finite(h) for h in found.per_feature[:FEATURES]])
            self.mean[k].append(_finite(found.mean))
            self.counts[k].append(class_counts(selections(z[:, :FEATURES]), self.y, len(self.data.classes)))


def class_counts(selected: Tensor, y: Tensor, classes: int) -> list[list[int]]:
    """[feature][class]: how many samples of each class a feature selects."""
    return [y[column].bincount(minlength=classes).tolist() for column in selected.T]


def _finite(value: Tensor) -> float | None:
    return round(float(value), 4) if math.isfinite(float(value)) else None


def run(trial: Trial) -> dict[str, Any]:
    data = part_of(trial)

    def make() -> nn.Module:
        rectified = trial.setting.get("rectified", False)
        return mlp(data.sample_shape, HIDDEN, len(data.classes), rectified=rectified)

    probe, history = watch(trial, data, make, lambda model: Probe(model, data, trial.plan.options["probe_samples"]))
    measured = {"counts": probe.counts, "entropy": probe.entropy, "mean": probe.mean, "test_error": probe.test_error}
    return {**history.as_dict(), **measured}


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        run = result.of(label)[0]
        for k, name in enumerate(LAYERS):
            first, last = run["entropy"][k][0], run["entropy"][k][-1]
            rows.append(
                [label, name, *THESIS[k], first[0], last[0], first[1], last[1], run["mean"][k][0], run["mean"][k][-1]]
            )
    columns = [
        "Loss",
        "Layer",
        "Thesis, feature 1",
        "after",
        "Feature 1",
        "after",
        "Feature 2",
        "after",
        "All",
        "after",
    ]
    caption = (
        "H(Y|Z), bits, before training and after it, of the first two features and in the mean of all (seed 0). Empty: "
        "the feature selects nothing."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    label = SHOWN
    run = result.of(label)[0]
    out = []
    for k, name in enumerate(LAYERS):
        panels = {}
        for feature in range(FEATURES):
            for epoch, counts in enumerate(run["counts"][k]):
                h = run["entropy"][k][epoch][feature]
                shown = "none" if h is None else f"{h:.2f}"
                title = f"feature {feature + 1}, epoch {epoch}: H = {shown}"
                panels[title if feature else f"{title}\n{100 - run['test_error'][epoch]:.1f} % correct"] = counts[
                    feature
                ]
        caption = (
            f"Fig. 5.{18 + k}: classes that two features of {name} select, {label}; above, the test accuracy (seed 0)."
        )
        columns = len(run["counts"][k])
        out.append(plots.bars(f"figure_5_{18 + k}", caption, panels, x="class", y="samples", columns=columns))
    return out


def claims(result: Result) -> list[Claim]:
    out = []
    for label in result.settings:
        runs = result.of(label)
        for k, name in enumerate(LAYERS):
            before, after = (statistics.fmean(run["mean"][k][i] for run in runs) for i in (0, -1))
            told = f"{before:.2f} to {after:.2f} in the mean of all features"
            thesis = f"{THESIS[k][0]} to {THESIS[k][1]} (feature 1)"
            out.append(Claim(f"{label}: H(Y|Z) falls in {name}", thesis, told, after < before))
        falls = [statistics.fmean(run["mean"][k][0] - run["mean"][k][-1] for run in runs) for k in range(len(LAYERS))]
        told = ", ".join(f"{value:.2f}" for value in falls)
        out.append(Claim(f"{label}: by more in a higher layer", "0.14, 0.71, 2.94", told, falls == sorted(falls)))
    return out


EXPERIMENT = Experiment(
    title="Selections of features",
    thesis="Figs. 5.18 to 5.20, sec. 5.5.4",
    about=(
        "A fully connected network 784-300-50-10, ReLU in the hidden layers, plain SGD. The thesis says “with ReLUs” "
        "and names neither loss nor learning rate; shown are softmax and sigmoid outputs with their "
        "cross-entropies, where an output selects what it gives a logit above 0, and the squared error with a ReLU in "
        "the output layer too. A feature selects what it maps above 0; H(Y|Z) is the entropy of the classes among that."
    ),
    settings=SETTINGS,
    full=Plan(trials=3, epochs=5, data="torchvision:MNIST", options={**WHOLE, "probe_samples": 60000}),
    quick=Plan(trials=1, epochs=2, data="digits", options={**WHOLE, "probe_samples": 1000}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**SUBSET, "probe_samples": PROBE},
    threads=1,
)

"""Figure 4.1a (secs. 4.5, 4.7): softmax, exp-GA and pow3-GA on CIFAR-10 with a five-layer CNN."""

from __future__ import annotations

import math
from typing import Any

from effdl_fast.reproduce.ch4.parts.classify import (
    OPTIONS,
    SCALING,
    classify,
    epochs_to_reach,
    error_curves,
    error_table,
    median_curve,
)
from effdl_fast.reproduce.ch4.parts.cnn import WIDTH, five_layer_cnn
from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

# alpha, beta and target values: secs. 4.5 and 4.7. Learning rates: ours, see docs/reproduce.md (the thesis does not
# give them).
SETTINGS: dict[str, dict[str, Any]] = {
    "softmax": {"output": "softmax", "lr": 0.03, "batch_size": 100},
    "exp-GA": {"output": "exp", "alpha": 0.1, "target_value": 16.0, "lr": 0.001, "batch_size": 100},
    "pow3-GA": {"output": "pow3", "alpha": 0.001, "beta": 0.4, "target_value": 10.0, "lr": 0.005, "batch_size": 100},
}


def run(trial: Trial) -> dict[str, Any]:
    width = trial.plan.options["width"]
    return classify(trial, lambda shape, classes: five_layer_cnn(shape, classes, width)).as_dict()


def table(result: Result) -> Table:
    return error_table(
        result, {}, "Median smallest test error; the thesis gives this experiment as a plot only (Fig. 4.1a)."
    )


def figures(result: Result) -> list[Plot]:
    return [error_curves(result, "figure_4_1a", "Fig. 4.1a: median test error of the five-layer CNN.")]


def claims(result: Result) -> list[Claim]:
    return faster_than_softmax(result, ("exp-GA", "pow3-GA"))


def faster_than_softmax(result: Result, labels: tuple[str, ...], softmax: str = "softmax") -> list[Claim]:
    """For each label: does the median error drop faster, that is, reach softmax's best median in fewer epochs?"""
    target = min(median_curve(result, softmax), default=math.inf)
    needed = epochs_to_reach(median_curve(result, softmax), target)
    out = []
    for label in labels:
        curve = median_curve(result, label)
        epoch, best = epochs_to_reach(curve, target), min(curve, default=math.inf)
        measured = (
            f"{target:.1f} % at epoch {epoch or 'never'} against {needed}; best {best:.1f} against {target:.1f} %"
        )
        faster = epoch is not None and needed is not None and epoch < needed
        out.append(Claim(f"{label} drops faster than {softmax}", "yes, from the first epochs on", measured, faster))
    return out


EXPERIMENT = Experiment(
    title="Five-layer CNN on CIFAR-10",
    thesis="Fig. 4.1a, secs. 4.5 and 4.7",
    about=(
        "Four 3x3 convolutions (64, 64, 128, 128 channels times `width`; the thesis names no widths), batch "
        "normalisation and ReLU, 2x2 max-pooling after the second and the fourth, an affine output layer. The "
        "thesis has batch normalisation “in all layers”; here the output layer has none, which is our choice. Plain "
        "SGD, fixed learning rate. exp-GA with alpha 0.1 and t in {0, 16}, pow3-GA with alpha 0.001, beta 0.4, t in "
        "{0, 10}. " + SCALING
    ),
    settings=SETTINGS,
    full=Plan(
        trials=20,
        epochs=30,
        data="torchvision:CIFAR10",
        options={"width": 1.0, "train_samples": None, "test_samples": None},
    ),
    quick=Plan(
        trials=1,
        epochs=4,
        data="digits",
        options={"width": 0.125, "train_samples": 1000, "test_samples": 300},
        smoke=True,
    ),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**OPTIONS, "width": WIDTH},
)

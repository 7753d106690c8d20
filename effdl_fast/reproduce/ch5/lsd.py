"""Figure 5.6 (sec. 5.3.1): the least squares distance from each hidden layer of an MLP to the target."""

from __future__ import annotations

from typing import Any

from torch import nn

from effdl_fast.data import Dataset
from effdl_fast.metrics import least_squares_distance
from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.layers import (
    PROBE,
    SUBSET,
    WHOLE,
    mlp,
    ordered,
    part_of,
    random_part,
    representations,
    watch,
)
from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.reproduce.train import Observer

HIDDEN = (392, 196, 50)
LAYERS = ("layer 1", "layer 2", "layer 3")
# The thesis tells neither loss nor learning rate.
SETTINGS: dict[str, dict[str, Any]] = {
    "squared error": {"output": "linear", "lr": 0.05, "batch_size": 100},
    "softmax": {"output": "softmax", "lr": 0.1, "batch_size": 100},
}


class Probe(Observer):
    """The distance of every hidden layer on `probe_samples` training samples, before training and after each epoch."""

    def __init__(self, model: nn.Module, data: Dataset, samples: int) -> None:
        self.model, (self.x, self.y) = model, random_part(data.x_train, data.y_train, samples)
        self.distance: list[list[float]] = [[] for _ in LAYERS]

    def after_epoch(self, epoch: int) -> None:
        for found, z in zip(self.distance, representations(self.model, self.x)[: len(LAYERS)], strict=True):
            found.append(round(float(least_squares_distance(z, self.y)), 6))


def run(trial: Trial) -> dict[str, Any]:
    data = part_of(trial)
    probe, history = watch(
        trial,
        data,
        lambda: mlp(data.sample_shape, HIDDEN, len(data.classes)),
        lambda model: Probe(model, data, trial.plan.options["probe_samples"]),
    )
    pixels = float(least_squares_distance(probe.x, probe.y))
    return {**history.as_dict(), "distance": probe.distance, "pixels": pixels}


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        for seed, run in enumerate(result.of(label)):
            rows.append([label, seed, "pixels", run["pixels"], run["pixels"], run["test_error"][-1]])
            rows += [[label, seed, name, d[0], d[-1], None] for name, d in zip(LAYERS, run["distance"], strict=True)]
    columns = ["Loss", "Seed", "Layer", "LSD before", "LSD after", "Test error %"]
    return Table(columns, rows, "Least squares distance to the one-hot target, before training and after it.")


def figures(result: Result) -> list[Plot]:
    panels = {}
    for label in result.settings:
        run = result.of(label)[0]
        panels[label] = {name: (list(range(len(d))), d) for name, d in zip(LAYERS, run["distance"], strict=True)}
    caption = (
        "Fig. 5.6: least squares distance of the hidden layers to the target; epoch 0 is before training (seed 0)."
    )
    return [plots.curves("figure_5_6", caption, panels, x="epoch", y="LSD", log_y=True, columns=2)]


def claims(result: Result) -> list[Claim]:
    out = []
    for label in result.settings:
        runs = result.of(label)
        change = [max(run["distance"][k][-1] - run["distance"][k][0] for run in runs) for k in range(len(LAYERS))]
        last = [max(run["distance"][k][-1] for run in runs) for k in range(len(LAYERS))]
        told = ", ".join(f"{value:+.4f}" for value in change)
        out.append(Claim(f"{label}: the LSD of every hidden layer falls", "yes", f"by {told}", max(change) < 0))
        holds = all(ordered([d[-1] for d in run["distance"]]) for run in runs)
        told = ", ".join(f"{value:.4f}" for value in last)
        out.append(Claim(f"{label}: a higher layer is nearer to the target after training", "yes", told, holds))
        start = all(ordered([d[0] for d in run["distance"]]) for run in runs)
        told = ", ".join(f"{d[0]:.3f}" for d in runs[0]["distance"])
        out.append(Claim(f"{label}: that order is learned, not there before training", "not told", told, not start))
    return out


EXPERIMENT = Experiment(
    title="Least squares distance of the layers",
    thesis="Fig. 5.6, sec. 5.3.1, eqs. 5.2 and 5.3",
    about=(
        "A fully connected network 784-392-196-50-10 with ReLU, plain SGD. The thesis names neither loss nor learning "
        "rate nor the number of epochs: squared error (linear outputs, t in {0, 1}) and softmax with cross-entropy are "
        "both shown. Distances are those of (1/m) ||Y - Z Z^+ Y||^2 on random training samples, Z after the ReLU, "
        "without a column of ones."
    ),
    settings=SETTINGS,
    full=Plan(trials=3, epochs=50, data="torchvision:MNIST", options={**WHOLE, "probe_samples": 60000}),
    quick=Plan(trials=1, epochs=3, data="digits", options={**WHOLE, "probe_samples": 1000}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**SUBSET, "probe_samples": PROBE},
    threads=1,
)

"""Figure 5.21 (sec. 5.5.4): H(Y|Z) of the hidden layers of an MLP that learns slowly."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from effdl_fast.data import Dataset
from effdl_fast.metrics import conditional_entropy
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
LR = 3e-6  # the thesis's; it names no optimizer
SETTINGS: dict[str, dict[str, Any]] = {
    "Adam": {"output": "linear", "optimizer": "adam", "lr": LR, "batch_size": 32},
    "SGD": {"output": "linear", "optimizer": "sgd", "lr": LR, "momentum": 0.9, "batch_size": 32},
}


class Probe(Observer):
    """The mean H(Y|Z) of each hidden layer and the mean squared error, before training and after each epoch."""

    def __init__(self, model: nn.Module, data: Dataset, samples: int) -> None:
        self.model, (self.x, self.y) = model, random_part(data.x_train, data.y_train, samples)
        self.target = F.one_hot(self.y, len(data.classes)).float()
        self.entropy: list[list[float]] = [[] for _ in LAYERS]
        self.weighted: list[list[float]] = [[] for _ in LAYERS]
        self.dead: list[list[int]] = [[] for _ in LAYERS]
        self.mse: list[float] = []

    def after_epoch(self, epoch: int) -> None:
        *hidden, output = representations(self.model, self.x)
        for k, z in enumerate(hidden):
            found = conditional_entropy(z, self.y)
            self.entropy[k].append(round(float(found.mean), 5))
            self.weighted[k].append(round(float(found.weighted_mean), 5))
            self.dead[k].append(int((found.sizes == 0).sum()))
        self.mse.append(round(float((output - self.target).square().mean()), 7))


def run(trial: Trial) -> dict[str, Any]:
    data = part_of(trial)
    probe, history = watch(
        trial,
        data,
        lambda: mlp(data.sample_shape, HIDDEN, len(data.classes)),
        lambda model: Probe(model, data, trial.plan.options["probe_samples"]),
    )
    prior = float(conditional_entropy(torch.ones(len(probe.y), 1), probe.y.cpu()).mean)  # a feature that selects all
    measured = {"entropy": probe.entropy, "weighted": probe.weighted, "dead": probe.dead, "mse": probe.mse}
    return {**history.as_dict(), **measured, "prior": round(prior, 5)}


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        for seed, run in enumerate(result.of(label)):
            for k, name in enumerate(LAYERS):
                h, w = run["entropy"][k], run["weighted"][k]
                error = run["test_error"][-1] if k == 0 else None
                rows.append([label, seed, name, h[0], h[-1], w[0], w[-1], run["dead"][k][-1], error])
    columns = ["Optimizer", "Seed", "Layer", "H before", "H after", "weighted", "weighted", "Dead", "Test error %"]
    caption = (
        "Mean over the features of the entropy (bits) of the classes that each selects; also weighted by the number of "
        "selected samples. Dead: features that select nothing, which are left out."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    entropies: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    errors: dict[str, dict[str, tuple[list[int], list[float]]]] = {}
    for label in result.settings:
        run = result.of(label)[0]
        epochs = list(range(len(run["mse"])))
        entropies[f"{label}, H(Y|Z), bits"] = {
            name: (epochs, h) for name, h in zip(LAYERS, run["entropy"], strict=True)
        }
        errors[f"{label}, mean squared error"] = {"ours": (epochs, run["mse"])}
    caption = "Fig. 5.21: H(Y|Z) of the hidden layers, and the mean squared error per output (seed 0); lr 3e-6."
    panels = {**entropies, **errors}
    return [plots.curves("figure_5_21", caption, panels, x="epoch", y="", columns=2, scale=0.85)]


def claims(result: Result) -> list[Claim]:
    out = []
    for label in result.settings:
        runs = result.of(label)
        change = [[h[-1] - h[0] for h in run["entropy"]] for run in runs]
        told = ", ".join(f"{value:+.3f}" for value in change[0])
        falls = all(value < 0 for values in change for value in values)
        out.append(Claim(f"{label}: H(Y|Z) of every hidden layer falls", "yes", f"{told} bits (seed 0)", falls))
        last = [[h[-1] for h in run["entropy"]] for run in runs]
        told = ", ".join(f"{value:.3f}" for value in last[0])
        out.append(
            Claim(f"{label}: a higher layer has a lower H(Y|Z) after training", "yes", told, all(map(ordered, last)))
        )
    return out


EXPERIMENT = Experiment(
    title="Conditional entropies of the layers",
    thesis="Fig. 5.21, sec. 5.5.4",
    about=(
        "A fully connected network 784-392-196-50-10 with ReLU and linear outputs, squared error with t in {0, 1}, "
        "learning rate 3e-6. The thesis names neither the optimizer nor the mini-batch: shown are Adam and SGD with "
        "momentum 0.9, mini-batches of 32. The rate multiplies gradients of half the squared error, summed over the "
        "outputs and averaged over the mini-batch; in SGD another scaling would be another rate, in Adam hardly. "
        "H(Y|Z) on random training samples; selected is what is above 0 after the ReLU."
    ),
    settings=SETTINGS,
    full=Plan(trials=3, epochs=50, data="torchvision:MNIST", options={**WHOLE, "probe_samples": 60000}),
    quick=Plan(trials=1, epochs=2, data="digits", options={**WHOLE, "probe_samples": 1000}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**SUBSET, "probe_samples": PROBE},
    threads=1,
)

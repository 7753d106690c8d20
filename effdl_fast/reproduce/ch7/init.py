"""Future work 9 (sec. 7.10.3): platonic projections as the start of training by gradients."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from effdl_fast.data import Dataset
from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch5.parts.layers import SUBSET, WHOLE, mlp, part_of
from effdl_fast.reproduce.ch7.parts.fits import BLOCK
from effdl_fast.reproduce.ch7.parts.inputs import standardised
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.reproduce.train import Observer, Recipe, build, error_rate, train
from effdl_fast.solvers import PlatonicMLP, init_platonic_

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.003, "batch_size": 128},  # section 7.9.1
    "Adam": {"lr": 0.001, "optimizer": "adam", "batch_size": 128},
}
DEFAULT, IN_PLACE = "default", "init_platonic_"
STARTS: dict[str, dict[str, Any]] = {
    DEFAULT: {},
    IN_PLACE: {},
    "random P": {"projection": "random", "beta": 10.0},
    "Platonic PCA": {"projection": "pca", "first": "sorted_pca", "ema": 0.2},
}
L2 = 0.5
SETTINGS: dict[str, dict[str, Any]] = {
    f"{optimizer}, {start}": {"optimizer_name": optimizer, "start": start}
    for optimizer in OPTIMIZERS
    for start in STARTS
}


class Before(Observer):
    """The test error (percent) and the loss before training."""

    def __init__(self, model: nn.Module, data: Dataset) -> None:
        self.model, self.data = model, data
        self.error = 100.0

    def after_epoch(self, epoch: int) -> None:
        if epoch == 0:
            self.error = error_rate(self.model, self.data.x_test, self.data.y_test)


def balanced(model: nn.Sequential, x: Tensor) -> nn.Sequential:
    """The same function (of ReLU networks) with hidden units of one size: their root mean square over x becomes 1.

    Layers fitted with a large beta have activations far from that, which no usual learning rate suits.
    """
    linear = [module for module in model if isinstance(module, nn.Linear)]
    with torch.no_grad():
        for layer, after in itertools.pairwise(linear):
            x = torch.relu(layer(x))
            size = x.square().mean(dim=0).sqrt()
            size = torch.where(size > 0, size, 1.0)
            layer.weight.div_(size[:, None])
            layer.bias.div_(size)
            after.weight.mul_(size)
            x = x / size
    return model


def run(trial: Trial) -> dict[str, Any]:
    """Test error before training and after every epoch."""
    data, options = part_of(trial), trial.plan.options
    x, x_test = standardised(data)
    data = replace(data, x_train=x, x_test=x_test)
    hidden = (options["width"], options["width_2"])
    model = build(lambda: mlp((x.shape[1],), hidden, len(data.classes)), trial.seed)
    start = trial.setting["start"]
    if start == IN_PLACE:
        loader = DataLoader(TensorDataset(x, data.y_train), batch_size=BLOCK)
        init_platonic_(model, loader, l2=L2, seed=trial.seed)
    elif start != DEFAULT:
        parameters = STARTS[start]
        fitted = PlatonicMLP(hidden, activation="relu", l2=L2, seed=trial.seed, **parameters).fit(x, data.y_train)
        model = balanced(fitted.to_module(), x)
    before = Before(model, data)
    recipe = Recipe(epochs=trial.plan.epochs, **OPTIMIZERS[trial.setting["optimizer_name"]])
    history = train(model, F.cross_entropy, data, recipe, seed=trial.seed, observer=before, tick=trial.tick)
    return {**history.as_dict(), "before": before.error}


def _curve(run: Any) -> list[float]:
    return [run["before"], *run["test_error"]]


def reached(curve: Sequence[float], error: float) -> int | None:
    """The first epoch, 0 before training, with at most that error."""
    return next((epoch for epoch, value in enumerate(curve) if value <= error), None)


def _target(result: Result, optimizer: str) -> float:
    """What the default start comes to: the median of its smallest error."""
    return result.median(f"{optimizer}, {DEFAULT}", "best_error")


def _epochs(result: Result, label: str) -> list[int | None]:
    target = _target(result, label.split(",")[0])
    return [reached(_curve(run), target) for run in result.of(label)]


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        runs = result.of(label)
        after = [statistics.median(_curve(run)[min(k, len(_curve(run)) - 1)] for run in runs) for k in (0, 1, 3)]
        epochs = ", ".join("never" if e is None else str(e) for e in _epochs(result, label))
        rows.append([label, *after, result.median(label, "best_error"), result.median(label, "best_epoch"), epochs])
    columns = ["Optimizer, start", "Before %", "Epoch 1 %", "Epoch 3 %", "Smallest %", "at epoch"]
    columns.append("Epochs to the default start's smallest")
    return Table(columns, rows, "Test error, medians over trials; the last column for every trial.")


def figures(result: Result) -> list[Plot]:
    panels: dict[str, Any] = {}
    for optimizer in OPTIMIZERS:
        panels[optimizer] = {}
        for start in STARTS:
            curves = [_curve(run) for run in result.of(f"{optimizer}, {start}")]
            median = [statistics.median(values) for values in zip(*curves, strict=False)]
            panels[optimizer][start] = (list(range(len(median))), median)
    caption = "Test error from the start on (epoch 0: before training), medians over trials."
    return [plots.curves("init", caption, panels, x="epoch", y="test error %", log_y=True)]


def claims(result: Result) -> list[Claim]:
    out = []
    for optimizer in OPTIMIZERS:
        base = f"{optimizer}, {DEFAULT}"
        own = result.median(base, "best_epoch")
        for start in STARTS:
            if start == DEFAULT:
                continue
            label = f"{optimizer}, {start}"
            found = _epochs(result, label)
            shown = ", ".join("never" if e is None else str(e) for e in found)
            gain = result.median(base, "best_error") - result.median(label, "best_error")
            measured = f"epoch {shown} against {own:g}; smallest error {-gain:+.2f} points"
            sooner = all(e is not None and e < own for e in found)
            text = f"{label}: reaches the default start's smallest error sooner"
            out.append(Claim(text, "asked (future work 9)", measured, sooner))
    return out


WIDTH = Number(int, 1, 20_000)
EXPERIMENT = Experiment(
    title="Platonic projections as initialisation",
    thesis="future work 9, sec. 7.10.3",
    about=(
        "The baseline 784-392-50-10 of section 7.9.1 (ReLU, softmax with cross-entropy), trained from PyTorch's start "
        "and from PlatonicMLP(...).to_module(), whose hidden units are scaled to the root mean square 1, which leaves "
        "a ReLU network's function as it is; or from init_platonic_ with its defaults. SGD as in section 7.9.1, "
        "without its division of the learning rate; Adam with 0.001. Inputs as for Table 7.2."
    ),
    settings=SETTINGS,
    full=Plan(trials=3, epochs=20, data="torchvision:MNIST", options={**WHOLE, "width": 392, "width_2": 50}),
    quick=Plan(
        trials=1,
        epochs=2,
        data="digits",
        options={"train_samples": 400, "test_samples": 200, "width": 24, "width_2": 16},
        smoke=True,
    ),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**SUBSET, "width": WIDTH, "width_2": WIDTH},
)

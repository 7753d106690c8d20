"""One classification trial, and the views of it that several experiments share."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from torch import Tensor, nn

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch4.parts.outputs import make_loss
from effdl_fast.reproduce.experiment import Number, Result, Setting, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.reproduce.train import History, Observer, Recipe, build, train

LOSS_KEYS = ("alpha", "beta", "target_value", "negative_value")
RECIPE_KEYS = frozenset(field.name for field in fields(Recipe))
OPTIONS = {
    "train_samples": Number(int, 1, 10**9, optional=True),
    "test_samples": Number(int, 1, 10**9, optional=True),
}
SCALING = "Gradients: sum over classes, mean over the mini-batch; the learning rates belong to that scaling."


def loss_of(setting: Setting) -> Callable[[Tensor, Tensor], Tensor]:
    """The loss a setting names: its `output` with those of LOSS_KEYS that it holds."""
    return make_loss(setting["output"], **{key: setting[key] for key in LOSS_KEYS if key in setting})


def classify(
    trial: Trial, make: Callable[[tuple[int, ...], int], nn.Module], observer: Observer | None = None
) -> History:
    """Train make(sample shape, number of classes) as trial.setting says.

    Plan options read here: train_samples, test_samples (a random part), batch_size (instead of the setting's); None or
    absent means no change.
    """
    options = trial.plan.options
    data = trial.dataset
    parts = {"train": options.get("train_samples"), "test": options.get("test_samples")}
    if any(parts.values()):
        data = data.subset(parts["train"] or len(data.x_train), parts["test"] or len(data.x_test))
    recipe_settings: dict[str, Any] = {key: value for key, value in trial.setting.items() if key in RECIPE_KEYS}
    if options.get("batch_size"):
        recipe_settings["batch_size"] = options["batch_size"]
    recipe = Recipe(epochs=trial.plan.epochs, **recipe_settings)
    model = build(lambda: make(data.sample_shape, len(data.classes)), trial.seed).to(trial.device)
    return train(model, loss_of(trial.setting), data, recipe, seed=trial.seed, observer=observer, tick=trial.tick)


def error_table(result: Result, thesis: Mapping[str, tuple[float | None, float | None]], caption: str) -> Table:
    """Median smallest test error and its median epoch, beside the thesis's (error %, epoch) where it gives them."""
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        runs = result.of(label)
        error, epoch = thesis.get(label, (None, None))
        spread = [run["best_error"] for run in runs]
        diverged = sum(run["diverged"] is not None for run in runs)
        rows.append(
            [
                label,
                result.settings[label]["lr"],
                error,
                statistics.median(spread),
                f"{min(spread):.2f}-{max(spread):.2f}",
                epoch,
                result.median(label, "best_epoch"),
                f"{diverged} of {len(runs)}" if diverged else "",
            ]
        )
    columns = ["Output", "LR", "Thesis error %", "Error %", "Range", "Thesis epoch", "Epoch of minimum", "Diverged"]
    return Table(columns, rows, caption).without_empty_columns()


def median_curve(result: Result, label: str) -> list[float]:
    """The median test error (percent) after each epoch that every trial of `label` completed."""
    runs = [run["test_error"] for run in result.of(label)]
    return [statistics.median(run[i] for run in runs) for i in range(min(map(len, runs)))]


def error_curves(result: Result, name: str, caption: str, from_epoch: int = 1) -> Plot:
    """Median test error against epoch, one line per setting."""
    lines = {}
    for label in result.settings:
        curve = median_curve(result, label)[from_epoch - 1 :]
        lines[label] = (list(range(from_epoch, from_epoch + len(curve))), curve)
    return plots.curves(name, caption, {"": lines}, x="epoch", y="test error, %", log_y=True, columns=1, scale=1.4)


def epochs_to_reach(curve: list[float], error: float) -> int | None:
    """The first 1-based epoch with at most `error` percent, or None."""
    return next((i for i, value in enumerate(curve, 1) if value <= error), None)

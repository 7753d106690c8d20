"""The form of Table 5.1 (sec. 5.4.1): what k-filtering keeps of a data set, and training on it.

"Equal epochs" trains as many epochs on what is kept, which saves as much time as samples are left out; "equal updates"
goes through what is kept again until each epoch has as many samples as the whole set. Beside each of the latter stands
a random part of the same size.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from effdl_fast.data import Dataset
from effdl_fast.errors import UserError
from effdl_fast.metrics import k_filter, kept_curve, redundancy_depths
from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch4.parts.cnn import WIDTH, image_shape
from effdl_fast.reproduce.ch5.parts.layers import SUBSET, WHOLE, fit, part_of
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

CHANNELS = (32, 64)  # of the two convolutions, times `width`: ours
UNITS = 128
BATCH = 6148  # the thesis says "large mini-batches" here, and uses this many in sec. 6.8.2
RECIPE: dict[str, Any] = {"output": "softmax", "optimizer": "adam", "lr": 0.001, "batch_size": 50}
KEPT = "kept fractions"
BASELINE = "all samples"
BUDGETS = ("epochs", "updates")
INSIGNIFICANT = 0.3  # points of accuracy: less than this is "without significantly impacting" it


def cnn_4(sample_shape: tuple[int, ...], classes: int, width: float) -> nn.Sequential:
    """Two 3x3 convolutions with ReLU and 2x2 max-pooling, a fully connected layer with ReLU, an affine output layer."""
    channels, height, wide = image_shape(sample_shape)
    first, second = (max(1, round(c * width)) for c in CHANNELS)
    units = max(1, round(UNITS * width))
    return nn.Sequential(
        *(nn.Conv2d(channels, first, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(first, second, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(second * (height // 4) * (wide // 4), units), nn.ReLU(), nn.Linear(units, classes)),
    )


def settings_of(ks: Sequence[int], fractions_at: Sequence[int]) -> dict[str, dict[str, Any]]:
    """The kept fractions, the baseline, and for each k what is kept at both budgets, and a random part."""
    out: dict[str, dict[str, Any]] = {KEPT: {"ks": list(fractions_at)}, BASELINE: {**RECIPE}}
    for k in ks:
        for budget in BUDGETS:
            out[f"k={k}, equal {budget}"] = {**RECIPE, "k": k, "budget": budget}
        out[f"random as k={k}, equal updates"] = {**RECIPE, "k": k, "budget": "updates", "random": True}
    return out


def run(trial: Trial) -> dict[str, Any]:
    return fractions(trial) if "ks" in trial.setting else accuracy(trial)


def fractions(trial: Trial) -> dict[str, Any]:
    """Kept shares of the whole training set for each k: global and in mini-batches, without and with the sample."""
    x, y = trial.dataset.x_train, trial.dataset.y_train
    ks, size = trial.setting["ks"], trial.plan.options["filter_batch"]
    out: dict[str, Any] = {}
    for name, batch in (("global", None), ("mini-batches", size)):
        depth = redundancy_depths(x, y, batch, generator=trial.seed)
        out[name] = [round(v, 6) for v in kept_curve(depth, ks).tolist()]
        out[f"{name}, self"] = [round(v, 6) for v in kept_curve(depth, ks, counting_self=True).tolist()]
    return out


def accuracy(trial: Trial) -> dict[str, Any]:
    """Test accuracy after training on what the setting leaves."""
    data, setting, options = part_of(trial), trial.setting, trial.plan.options
    size, kept = len(data.x_train), len(data.x_train)
    if "k" in setting:
        chosen = k_filter(data.x_train, data.y_train, setting["k"], options["filter_batch"], generator=trial.seed)
        if (kept := len(chosen)) == 0:
            raise UserError(f"data: k-filtering with k = {setting['k']} keeps none of {data.name}")
        if setting.get("random"):
            generator = torch.Generator().manual_seed(trial.seed)
            chosen = torch.randperm(size, generator=generator)[:kept].to(chosen.device)
        data = pick(data, chosen, size if setting["budget"] == "updates" else kept)
    width = options["width"]
    _, history = fit(trial, data, lambda: cnn_4(data.sample_shape, len(data.classes), width))
    return {**history.as_dict(), "kept": kept / size}


def pick(data: Dataset, chosen: Tensor, count: int) -> Dataset:
    """The chosen training samples, `count` of them: as often as needed, each about equally often."""
    places = chosen.repeat(-(-count // max(1, len(chosen))))[:count]
    return replace(data, x_train=data.x_train[places], y_train=data.y_train[places])


def _accuracies(result: Result, label: str) -> list[float]:
    return [100 - run["test_error"][-1] for run in result.of(label)]


def table(result: Result, thesis: Mapping[str, tuple[float, float]]) -> Table:
    """thesis: {"k=5": (kept %, accuracy %), ...}, the baseline under BASELINE."""
    rows: list[list[str | float | None]] = []
    ks = result.settings[KEPT]["ks"]
    ways = ("global", "global, self", "mini-batches", "mini-batches, self")
    for way in ways:
        shares = [statistics.fmean(run[way][i] for run in result.of(KEPT)) for i in range(len(ks))]
        told = ", ".join(f"k={k}: {100 * share:.1f} %" for k, share in zip(ks, shares, strict=True))
        rows.append([f"kept, {way}", told, None, None, None, None])
    for label in result.settings:
        if label == KEPT:
            continue
        values = _accuracies(result, label)
        share = statistics.fmean(run["kept"] for run in result.of(label))
        name = label.split(",")[0]
        there = thesis.get(name, (None, None)) if "random" not in name else (None, None)
        spread = statistics.stdev(values) if len(values) > 1 else None
        rows.append([label, f"{100 * share:.1f} %", statistics.fmean(values), spread, *there])
    columns = ["Training set", "Kept", "Accuracy %", "SD", "Thesis kept %", "Thesis accuracy %"]
    caption = (
        "Kept shares of the whole training set (self: the sample counts as its own nearest neighbour), then mean test "
        "accuracy after the last epoch, with the standard deviation over trials."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels: dict[str, dict[str, list[float]]] = {}
    for budget in BUDGETS:
        panels[f"equal {budget}"] = {"all": _accuracies(result, BASELINE)} | {
            label.split(",")[0].replace("random as ", "as "): _accuracies(result, label)
            for label, setting in result.settings.items()
            if setting.get("budget") == budget
        }
    caption = "Table 5.1: test accuracy on all samples, on filtered ones, and (as) on random parts of the same size."
    return [plots.spreads("table_5_1", caption, panels, x="training set", y=dict.fromkeys(panels, "accuracy, %"))]


def claims(result: Result, thesis: Mapping[str, tuple[float, float]]) -> list[Claim]:
    out = []
    ks = result.settings[KEPT]["ks"]
    for i, k in enumerate(ks):
        told = {way: statistics.fmean(run[way][i] for run in result.of(KEPT)) for way in result.of(KEPT)[0]}
        there = thesis[f"k={k}"][0]
        measured = ", ".join(f"{100 * share:.1f} % ({way})" for way, share in told.items())
        near = abs(100 * told["mini-batches"] - there) <= 2
        out.append(Claim(f"k={k}: kept in mini-batches, by the text's definition", f"{there:g} %", measured, near))
    base = statistics.fmean(_accuracies(result, BASELINE))
    for label, setting in result.settings.items():
        if "k" not in setting or setting.get("random"):
            continue
        name = label.split(",")[0]
        gap = statistics.fmean(_accuracies(result, label)) - base
        random = statistics.fmean(_accuracies(result, f"random as {name}, equal updates")) - base
        there = thesis[name][1] - thesis[BASELINE][1]
        measured = f"{gap:+.2f}; a random part of the same size, equal updates, {random:+.2f}"
        text = f"{label}: points of accuracy to all samples ({base:.2f} %)"
        out.append(Claim(text, f"{there:+.2f}", measured, gap > -INSIGNIFICANT))
    return out


def preset(
    title: str, data: str, ks: Sequence[int], fractions_at: Sequence[int], thesis: Mapping[str, tuple[float, float]]
) -> Experiment:
    """Table 5.1 for one data set."""
    return Experiment(
        title=title,
        thesis="Table 5.1, sec. 5.4.1",
        about=(
            "k-filtering of the training set by the text's definition, the sample not among its own k neighbours; "
            "“self” counts it. Mini-batches of about 6,148 (the thesis says “large mini-batches”) and, for comparison, "
            "all samples at once. Then a small CNN: two 3x3 convolutions (32, 64 channels times `width`) with ReLU and "
            "max-pooling, a fully connected layer of 128 units times `width`, an output layer; Adam with lr 0.001, "
            "mini-batches of 50, no augmentation. The thesis tells neither its “vanilla 4-layer CNN” nor how "
            "long it trained. Accuracy after the last epoch; “equal updates” repeats the kept samples. A trial has its "
            "own mini-batches, random parts, initialisation and shuffles."
        ),
        settings=settings_of(ks, fractions_at),
        full=Plan(trials=5, epochs=30, data=data, options={**WHOLE, "filter_batch": BATCH, "width": 1.0}),
        quick=Plan(trials=1, epochs=1, data="digits", options={**WHOLE, "filter_batch": 700, "width": 0.1}, smoke=True),
        run=run,
        table=lambda result: table(result, thesis),
        plots=figures,
        claims=lambda result: claims(result, thesis),
        options={**SUBSET, "filter_batch": Number(int, 2, 10**9, optional=True), "width": WIDTH},
        threads=1,
    )

"""Figure 5.9 (sec. 5.3.3): four classes of CIFAR-10 on the first two principal components of a CNN's layers."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

import torch
from torch import Tensor

from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch4.parts.cnn import WIDTH, ten_layer_cnn
from effdl_fast.reproduce.ch5.parts.layers import PROBE, SUBSET, WHOLE, fit, part_of, random_part, representations
from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

CLASSES = (0, 1, 2, 3)
SHOWN = (2, 4, 6, 8)  # hidden layers, as in the thesis
DRAWN = 400  # points of each panel
SETTINGS: dict[str, dict[str, Any]] = {"softmax": {"output": "softmax", "lr": 0.1, "batch_size": 100, "augment": True}}
PLACES = ("input", *(f"layer {k}" for k in SHOWN), "output")


def run(trial: Trial) -> dict[str, Any]:
    """Train on all classes; then four of them, on training and test samples, in every layer."""
    data, options = part_of(trial), trial.plan.options
    width = options["width"]
    model, history = fit(trial, data, lambda: ten_layer_cnn(data.sample_shape, len(data.classes), width))
    parts = {}
    for part, x, y in (("train", data.x_train, data.y_train), ("test", data.x_test, data.y_test)):
        chosen = torch.isin(y, torch.tensor(CLASSES, device=y.device))
        x, y = random_part(x[chosen], y[chosen], options["probe_samples"])
        *hidden, output = representations(model, x)
        layers = [x, *(hidden[k - 1] for k in SHOWN), output]
        found = [components(z.flatten(1)) for z in layers]
        parts[part] = {
            "between": [round(between_classes(z.flatten(1), y), 5) for z in layers],
            "between_two": [round(between_classes(z, y), 5) for z, _ in found],
            "explained": [round(share, 5) for _, share in found],
            "points": [_scaled(z[:DRAWN]) for z, _ in found],
            "classes": y[:DRAWN].tolist(),
        }
    return {**history.as_dict(), **parts}


def components(z: Tensor) -> tuple[Tensor, float]:
    """The samples (n, 2) along their first two principal components, and the share of the variance these hold."""
    z = (z - z.mean(dim=0)).double()
    if z.shape[1] <= len(z):
        squares, axes = torch.linalg.eigh(z.T @ z)
        places = z @ axes[:, -2:]
    else:
        squares, sides = torch.linalg.eigh(z @ z.T)
        places = sides[:, -2:] * squares[-2:].clamp(min=0).sqrt()
    return places.flip(1), float(squares[-2:].sum() / squares.sum())


def between_classes(z: Tensor, y: Tensor) -> float:
    """The share of the variance (0 to 1) that lies between the classes' means."""
    z = z - z.mean(dim=0)
    between = sum(float((y == c).sum()) * z[y == c].mean(dim=0).square().sum() for c in y.unique())
    return float(between / z.square().sum())


def _scaled(z: Tensor) -> list[list[float]]:
    """Rounded for storage, each axis in units of its standard deviation."""
    return [[round(v, 2) for v in row] for row in (z / z.std(dim=0).clamp(min=1e-30)).tolist()]


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        runs = result.of(label)
        for i, place in enumerate(PLACES):
            values = [
                statistics.fmean(run[part][key][i] for run in runs)
                for key in ("between", "between_two", "explained")
                for part in ("train", "test")
            ]
            rows.append([place, *values])
    columns = ["Layer", "Between, train", "test", "In the plane, train", "test", "Variance in the plane, train", "test"]
    caption = (
        "Share of the variance that lies between the means of the four classes, in the whole space and in the plane of "
        "the first two principal components; share of the variance that this plane holds. Mean over trials."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    run = next(iter(result.of(label)[0] for label in result.settings))
    panels = {}
    for part in ("train", "test"):
        for place, points in zip(PLACES, run[part]["points"], strict=True):
            panels[f"{place}, {'training' if part == 'train' else 'test'} samples"] = plots.Scene(
                points, run[part]["classes"]
            )
    caption = (
        "Fig. 5.9: four classes on the first two principal components, each axis in units of its standard deviation "
        "(seed 0)."
    )
    legend = [f"class {c}" for c in CLASSES]
    return [plots.scenes("figure_5_9", caption, panels, columns=len(PLACES), legend=legend, equal=False)]


def claims(result: Result) -> list[Claim]:
    out = []
    for label in result.settings:
        runs = result.of(label)
        for part, name in (("train", "training"), ("test", "test")):
            means = [statistics.fmean(run[part]["between"][i] for run in runs) for i in range(len(PLACES))]
            told = ", ".join(f"{value:.2f}" for value in means)
            rising = all(a <= b for a, b in itertools.pairwise(means))
            text = f"Classes separate from layer to layer ({name} samples): share of variance between them"
            out.append(Claim(text, "gradually more separated", told, rising))
    return out


EXPERIMENT = Experiment(
    title="Principal components of the layers",
    thesis="Fig. 5.9, sec. 5.3.3",
    about=(
        "The ten-layer all-convolutional network of chapter 4 (All-CNN-C with batch normalisation, channels times "
        "`width`); the thesis does not say which ten-layer CNN it took. Trained on all classes, softmax with "
        "cross-entropy, plain SGD, crops and flips; then the first four classes, after the ReLU of hidden layers 2, 4, "
        "6 and 8."
    ),
    settings=SETTINGS,
    full=Plan(trials=1, epochs=100, data="torchvision:CIFAR10", options={**WHOLE, "width": 1.0, "probe_samples": 2000}),
    quick=Plan(trials=1, epochs=2, data="digits", options={**WHOLE, "width": 0.05, "probe_samples": 200}, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**SUBSET, "width": WIDTH, "probe_samples": PROBE},
    heavy=True,
)

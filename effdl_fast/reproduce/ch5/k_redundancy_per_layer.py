"""Figure 5.14 (sec. 5.4): k-redundancy of the twelve hidden layers of VGG-13 while it learns CIFAR-10."""

from __future__ import annotations

import itertools
import statistics
from typing import Any

from torch import nn

from effdl_fast.data import Dataset
from effdl_fast.metrics import k_redundancy
from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch4.parts.cnn import WIDTH, conv
from effdl_fast.reproduce.ch4.parts.preset import pad_images
from effdl_fast.reproduce.ch4.parts.vgg import CHANNELS, CONVOLUTIONS
from effdl_fast.reproduce.ch5.parts.layers import PROBE, SUBSET, WHOLE, part_of, random_part, representations, watch
from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table
from effdl_fast.reproduce.train import Observer

KS = (5, 10, 20)
HIDDEN = 12
EPOCHS = 280  # of the thesis, which looks after 40, 120, 200 and all of them
LOOKS = (40, 120, 200, EPOCHS)
SLACK = 0.02  # a share by which a layer may fall behind the one before it and still count as grown
SETTINGS: dict[str, dict[str, Any]] = {
    "softmax": {"output": "softmax", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.0005, "batch_size": 100}
}


def vgg_13(channels: int, classes: int, width: float) -> nn.Sequential:
    """Ten 3x3 convolutions with batch normalisation and five poolings, two fully connected hidden layers of 512 units.

    For images (N, channels, 32, 32); `width` multiplies all numbers of channels and units.
    """
    layers: list[nn.Module] = []
    for outputs, count in zip(CHANNELS, CONVOLUTIONS[13], strict=True):
        scaled = max(1, round(outputs * width))
        for _ in range(count):
            layers += conv(channels, scaled, 3)
            channels = scaled
        layers.append(nn.MaxPool2d(2))
    layers.append(nn.Flatten())
    for _ in range(2):
        layers += [nn.Linear(channels, channels, bias=False), nn.BatchNorm1d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(channels, classes))


class Probe(Observer):
    """The k-redundancy of the input and of every hidden layer after the epochs of LOOKS, scaled to the run."""

    def __init__(self, model: nn.Module, data: Dataset, epochs: int, samples: int) -> None:
        self.model, self.epochs = model, sorted({0, *(max(1, round(epochs * look / EPOCHS)) for look in LOOKS)})
        self.parts = {
            "train": random_part(data.x_train, data.y_train, samples),
            "test": random_part(data.x_test, data.y_test, samples),
        }
        self.redundancy: dict[str, list[list[list[float]]]] = {part: [] for part in self.parts}  # [epoch][layer][k]

    def after_epoch(self, epoch: int) -> None:
        if epoch not in self.epochs:
            return
        for part, (x, y) in self.parts.items():
            layers = [x, *representations(self.model, x)[:HIDDEN]]
            found = [[round(value, 5) for value in k_redundancy(z, y, KS).tolist()] for z in layers]
            self.redundancy[part].append(found)


def run(trial: Trial) -> dict[str, Any]:
    data, options = pad_images(part_of(trial)), trial.plan.options
    probe, history = watch(
        trial,
        data,
        lambda: vgg_13(data.sample_shape[0], len(data.classes), options["width"]),
        lambda model: Probe(model, data, trial.plan.epochs, options["probe_samples"]),
    )
    return {**history.as_dict(), "looks": probe.epochs, **probe.redundancy}


def mean_of(result: Result, label: str, part: str, look: int, k: int) -> list[float]:
    """k-redundancy by layer, the input first; mean over trials."""
    runs = [[layer[KS.index(k)] for layer in run[part][look]] for run in result.of(label)]
    return [statistics.fmean(values) for values in zip(*runs, strict=True)]


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        looks = result.of(label)[0]["looks"]
        for layer in range(HIDDEN + 1):
            values = [100 * mean_of(result, label, "train", i, 10)[layer] for i in range(len(looks))]
            test = 100 * mean_of(result, label, "test", -1, 10)[layer]
            rows.append([f"layer {layer}" if layer else "input", *values, test])
        columns = ["Layer", *(f"epoch {look}" for look in looks), "test samples"]
    error = statistics.fmean(run["test_error"][-1] for run in result.of(label))
    caption = (
        f"k-redundancy in percent, k = 10, of training samples, and of test samples at the end (error {error:.1f} %)."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    label = next(iter(result.settings))
    layers = list(range(HIDDEN + 1))
    panels = {}
    for i, look in enumerate(result.of(label)[0]["looks"]):
        panels[f"epoch {look}"] = {
            f"k = {k}{', test' if part == 'test' else ''}": (layers, mean_of(result, label, part, i, k))
            for part in ("train", "test")
            for k in KS
        }
    caption = (
        "Fig. 5.14: k-redundancy of the input (0) and of the hidden layers, of training samples and of test samples, "
        "by epoch."
    )
    return [plots.curves("figure_5_14", caption, panels, x="layer", y="k-redundancy", columns=5, scale=0.75)]


def claims(result: Result) -> list[Claim]:
    label = next(iter(result.settings))
    looks = result.of(label)[0]["looks"]
    out = []
    for k in KS:
        hidden = mean_of(result, label, "train", -1, k)[1:]
        told = ", ".join(f"{value:.2f}" for value in hidden)
        grows = all(b > a - SLACK for a, b in itertools.pairwise(hidden))
        text = f"k = {k}: k-redundancy grows from layer to layer (epoch {looks[-1]})"
        out.append(Claim(text, "monotonically", told, grows))
    top = [min(mean_of(result, label, "train", look, 10)[-5:]) for look in (-2, -1)]
    told = (
        f"{100 * top[0]:.0f} % after epoch {looks[-2]}, {100 * top[1]:.0f} % after {looks[-1]} (lowest of five, k = 10)"
    )
    out.append(
        Claim("k-redundancy of the top five hidden layers", "nearly 100 % after 200 of 280 epochs", told, top[0] > 0.95)
    )
    rise = [
        statistics.fmean(mean_of(result, label, "train", -1, 10)[a] for a in part)
        - statistics.fmean(mean_of(result, label, "train", 1, 10)[a] for a in part)
        for part in ((1, 2, 3, 4), (5, 6, 7, 8))
    ]
    told = f"by {rise[0]:+.2f} in layers 1-4, {rise[1]:+.2f} in layers 5-8 from epoch {looks[1]} to {looks[-1]}"
    out.append(Claim("It grows slowly in the lowest layers, rapidly in the middle", "yes", told, rise[1] > rise[0]))
    return out


EXPERIMENT = Experiment(
    title="k-redundancy of the layers",
    thesis="Fig. 5.14, sec. 5.4",
    about=(
        "VGG-13 with batch normalisation, channels times `width`, its two fully connected hidden layers of 512 instead "
        "of 4096 units (times `width`); softmax with cross-entropy, SGD with momentum 0.9, a fixed learning rate, no "
        "augmentation. The thesis tells none of this, nor how many samples it filters. Here the k-redundancy is that "
        "of `probe_samples` random training samples (and, which the thesis does not tell apart, test samples) among "
        "themselves, after the ReLU of each hidden layer, at 1/7, 3/7, 5/7 and all of the epochs."
    ),
    settings=SETTINGS,
    full=Plan(
        trials=1, epochs=EPOCHS, data="torchvision:CIFAR10", options={**WHOLE, "width": 1.0, "probe_samples": 10000}
    ),
    quick=Plan(
        trials=1,
        epochs=2,
        data="digits",
        options={"train_samples": 400, "test_samples": 100, "width": 0.03, "probe_samples": 100},
        smoke=True,
    ),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options={**SUBSET, "width": WIDTH, "probe_samples": PROBE},
    heavy=True,
)

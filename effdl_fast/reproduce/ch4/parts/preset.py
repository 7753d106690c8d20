"""The common form of Tables 4.2-4.4: large networks on CIFAR with the settings the thesis tabulates, for a GPU machine.

From the thesis (secs. 4.11, 4.12): the tables' learning rates, weight decays, targets, alpha and beta; division of the
learning rate by 10 after epochs 150 and 225; for PyramidNet "the same learning rate, weight decay, momentum, and
schedule as Han et al.". From Han et al. (2017), for PyramidNet: 300 epochs, Nesterov momentum 0.9, mini-batches of 128,
random crops and flips. Ours: the same for VGG (without Nesterov), of which the thesis says none of this.

Images smaller than 32x32 (smoke runs on the digits) are padded with zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn
from torch.nn import functional as F

from effdl_fast.data import Dataset
from effdl_fast.errors import UserError
from effdl_fast.reproduce.ch4.parts.classify import OPTIONS, SCALING, classify, error_curves, error_table
from effdl_fast.reproduce.ch4.parts.pyramidnet import pyramidnet
from effdl_fast.reproduce.ch4.parts.vgg import vgg
from effdl_fast.reproduce.experiment import Claim, Experiment, Number, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

IMAGE = 32
SCHEDULE: dict[str, Any] = {"momentum": 0.9, "milestones": [150, 225], "batch_size": 128, "augment": True}
ABOUT = (
    "SGD, learning rate divided by 10 after epochs 150 and 225, as the thesis says. Not in the thesis, but those of "
    "Han et al. (2017), to whom it refers for PyramidNet: 300 epochs, momentum 0.9, mini-batches of 128, random crops "
    "with padding 4 and horizontal flips. Weight decay on all parameters. " + SCALING
)


def row(
    network: str, output: str, lr: float, decay: float, targets: tuple[float, float] | None = None, **more: Any
) -> dict[str, Any]:
    """One line of a table as a setting. targets: (negative, positive) class; more: alpha, beta, nesterov."""
    named = {} if targets is None else {"negative_value": targets[0], "target_value": targets[1]}
    return {"network": network, "output": output, "lr": lr, "weight_decay": decay, **named, **SCHEDULE, **more}


def make_network(name: str, channels: int, classes: int) -> nn.Module:
    """The network called "vgg-13", "pyramidnet-110", ..."""
    kind, _, depth = name.partition("-")
    return {"vgg": vgg, "pyramidnet": pyramidnet}[kind](channels, classes, int(depth))


def run(trial: Trial) -> dict[str, Any]:
    padded = replace(trial, data=pad_images(trial.dataset))
    network = trial.setting["network"]
    return classify(padded, lambda shape, classes: make_network(network, shape[0], classes)).as_dict()


def pad_images(data: Dataset) -> Dataset:
    """Zero-pad images to at least 32x32, centred. UserError for data that are no images or larger ones."""
    shape = data.sample_shape
    if len(shape) != 3 or max(shape[1:]) > IMAGE:
        raise UserError(f"data: this network is for images of at most {IMAGE}x{IMAGE}, got samples of shape {shape}")
    top, left = (IMAGE - shape[1]) // 2, (IMAGE - shape[2]) // 2
    frame = (left, IMAGE - shape[2] - left, top, IMAGE - shape[1] - top)
    return replace(data, x_train=F.pad(data.x_train, frame), x_test=F.pad(data.x_test, frame))


def preset(
    title: str, thesis: str, data: str, rows: Mapping[str, tuple[float, dict[str, Any]]], trials: int, note: str = ""
) -> Experiment:
    """The experiment of one table. rows: label -> (the thesis's top-1 error in percent, setting)."""
    errors = {label: (error, None) for label, (error, _) in rows.items()}

    def table(result: Result) -> Table:
        return error_table(result, errors, "Median over trials of the smallest top-1 test error.")

    def figures(result: Result) -> list[Plot]:
        return [error_curves(result, "error", "Median test error.")]

    return Experiment(
        title=title,
        thesis=thesis,
        about=" ".join(filter(None, [ABOUT, note])),
        settings={label: setting for label, (_, setting) in rows.items()},
        full=Plan(trials, 300, data, {"batch_size": None, "train_samples": None, "test_samples": None}),
        quick=Plan(1, 1, "digits", {"batch_size": 2, "train_samples": 4, "test_samples": 4}, smoke=True),
        options={**OPTIONS, "batch_size": Number(int, 1, 10**6, optional=True)},
        heavy=True,
        run=run,
        table=table,
        plots=figures,
        claims=lambda result: beats_softmax(result, errors),
    )


def beats_softmax(result: Result, thesis: Mapping[str, tuple[float, None]]) -> list[Claim]:
    """Each amplified output against softmax with the same network, in the thesis and here."""
    out = []
    for label in result.settings:
        network, _, output = label.partition(" ")
        if output == "softmax":
            continue
        base = f"{network} softmax"
        told = thesis[base][0] - thesis[label][0]
        found = result.median(base, "best_error") - result.median(label, "best_error")
        out.append(
            Claim(f"Error saved by {label}", f"{told:.2f} points", f"{found:.2f} points", (told > 0) == (found > 0))
        )
    return out

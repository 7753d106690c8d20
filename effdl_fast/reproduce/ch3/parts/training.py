"""One trial of chapter 3: several networks trained side by side, their weights exchanged after every epoch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from effdl_fast.reproduce.ch3.parts.exchange import Sent, bits_for, send
from effdl_fast.reproduce.ch3.parts.networks import HIDDEN, Networks
from effdl_fast.reproduce.experiment import Number, Setting, Trial

# How training starts and goes on. Learning rates and mini-batches: the grid in docs/reproduce.md.
STANDARD: dict[str, Any] = {"pixels": "standard", "init": 1.0, "lr": 0.05, "batch_size": 20}
SMALL: dict[str, Any] = {"pixels": "unit", "init": 0.1, "lr": 0.2, "batch_size": 20}
STARTS = {"": STANDARD, " small start": SMALL}  # by what is added to a setting's name
OPTIONS = {
    "networks": Number(int, 1, 1000),
    "train_samples": Number(int, 1, 10**9, optional=True),
    "test_samples": Number(int, 1, 10**9, optional=True),
}
FULL: dict[str, Any] = {"networks": 10, "train_samples": None, "test_samples": None}
QUICK: dict[str, Any] = {"networks": 2, "train_samples": None, "test_samples": None}
NETWORK = (
    "A network 784-392-50-10, tanh in every layer, trained on 1/2 sum (y - t)^2 with targets of -1 and 1. Ours, as the "
    "thesis does not tell: plain SGD with a fixed learning rate (gradients are means over the mini-batch), LeCun's "
    "uniform initialisation, pixels of mean 0 and variance 1. A trial trains several networks at once (option "
    "networks)."
)
EXCHANGE = (
    "After every epoch each layer's weights are compressed and decompressed (Algorithms 1 and 2), and training goes on "
    "from what arrives. Biases (0.1 % of the parameters) are exchanged as they are and not counted. Networks with the "
    "same seed share initialisation and order of samples in all settings."
)
SMALL_START = (
    "“Small start”: initial weights a tenth as large, and pixels from 0 to 1, so that the weights of the many "
    "pixels that are always 0 never move. The thesis tells of neither; this start comes nearer to its bit rates."
)
ENTROPY_SAMPLE = 0.03  # F (sec. 3.8)
SEEDS_OF_SAMPLING = 1 << 32  # apart from the seeds of initialisation and order


@dataclass(frozen=True)
class Samples:
    """Flat training and test samples (N, inputs), training targets (N, classes) of -1 and 1, test labels (N,)."""

    x_train: Tensor
    target: Tensor
    x_test: Tensor
    y_test: Tensor


Observer = Callable[[Networks, Samples], None]


def prepare(trial: Trial) -> Samples:
    """The trial's data, or the random part of it that its options name.

    The setting's pixels are "standard", as data sets are normalised, or "unit": from 0 to 1 over the training part.
    """
    data, options = trial.dataset, trial.plan.options
    parts = options["train_samples"] or len(data.x_train), options["test_samples"] or len(data.x_test)
    if parts != (len(data.x_train), len(data.x_test)):
        data = data.subset(*parts)
    target = torch.full((len(data.y_train), len(data.classes)), -1.0, device=data.x_train.device)
    target.scatter_(1, data.y_train[:, None], 1.0)
    x_train, x_test = data.x_train.flatten(1), data.x_test.flatten(1)
    if trial.setting["pixels"] == "unit":
        lo, hi = x_train.min(), x_train.max()
        x_train, x_test = (x_train - lo) / (hi - lo), (x_test - lo) / (hi - lo)
    return Samples(x_train, target, x_test, data.y_test)


def seeds(trial: Trial) -> list[int]:
    """Those of the trial's networks; no two trials share one."""
    count = trial.plan.options["networks"]
    return list(range(trial.seed * count, (trial.seed + 1) * count))


def train(trial: Trial, observe: Observer = lambda networks, samples: None) -> dict[str, Any]:
    """Train the trial's networks; `observe` looks at them after every epoch, before the exchange.

    Returns accuracy: percent of the test set, per network and epoch, after the exchange; sizes: weights of each layer;
    and, unless nothing is quantized, bits, huffman and record as in Sent, per layer and epoch, means over the networks.

    The setting is STANDARD or SMALL and, for quantization, either bits (fixed) or floor, entropy_bits and rounding
    (Algorithm 1).
    """
    setting, samples = trial.setting, prepare(trial)
    sizes = (samples.x_train.shape[1], *HIDDEN, samples.target.shape[1])
    networks = Networks(sizes, seeds(trial), trial.device, setting["init"])
    generators = [torch.Generator().manual_seed(SEEDS_OF_SAMPLING + seed) for seed in seeds(trial)]
    accuracy: list[list[float]] = [[] for _ in range(len(networks))]
    rates: dict[str, list[list[float]]] = {}
    for epoch in range(1, trial.plan.epochs + 1):
        networks.train_epoch(samples.x_train, samples.target, setting["lr"], setting["batch_size"])
        observe(networks, samples)
        for layer, weights in enumerate(networks.weights):
            sent = [exchange(w, setting, g) for w, g in zip(weights, generators, strict=True)]
            for key, value in mean_rates([s for s in sent if s is not None]).items():
                rates.setdefault(key, [[] for _ in networks.weights])[layer].append(value)
        now = networks.accuracy(samples.x_test, samples.y_test)
        for curve, value in zip(accuracy, now, strict=True):
            curve.append(round(value, 4))
        trial.tick(f"epoch {epoch}, test accuracy {sum(now) / len(now):.2f} %")
    return {"accuracy": accuracy, "sizes": [w[0].numel() for w in networks.weights], **rates}


def exchange(weights: Tensor, setting: Setting, generator: torch.Generator) -> Sent | None:
    """Replace `weights` by what arrives of them. None where the setting leaves them alone."""
    if "bits" in setting:
        bits = setting["bits"]
    elif "floor" in setting:
        floor, entropy_bits, rounding = setting["floor"], setting["entropy_bits"], setting["rounding"]
        bits = bits_for(weights, floor, entropy_bits, rounding, ENTROPY_SAMPLE, generator)
    else:
        return None
    sent = send(weights, bits)
    weights.copy_(sent.weights)
    return sent


def mean_rates(sent: list[Sent]) -> dict[str, float]:
    """Means over networks of what all of them have."""
    out = {}
    for key in ("bits", "huffman", "record"):
        values = [getattr(s, key) for s in sent]
        if values and None not in values:
            out[key] = round(sum(values) / len(values), 5)
    return out

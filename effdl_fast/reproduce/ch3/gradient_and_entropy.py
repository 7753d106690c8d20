"""Figures 3.2 and 3.3 (secs. 3.3 to 3.5): gradients and entropies of the layers while a network learns."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

import torch

from effdl_fast import ops
from effdl_fast.reproduce import plots
from effdl_fast.reproduce.ch3.parts.networks import Networks
from effdl_fast.reproduce.ch3.parts.training import (
    FULL,
    NETWORK,
    OPTIONS,
    QUICK,
    SEEDS_OF_SAMPLING,
    SMALL,
    SMALL_START,
    STANDARD,
    Samples,
    seeds,
    train,
)
from effdl_fast.reproduce.experiment import Claim, Experiment, Plan, Result, Trial
from effdl_fast.reproduce.report import Plot, Table

SLOW: dict[str, Any] = {**STANDARD, "lr": 0.002}  # still learning after 40 epochs; 0.05 has learnt all by then
SETTINGS: dict[str, dict[str, Any]] = {"standard start": STANDARD, "slow": SLOW, "small start": SMALL}
ENTROPY_BITS = (4, 6, 8, 10)  # M, the panels of Fig. 3.3
FRACTIONS = (1.0, 0.1, 0.03, 0.01)  # F, its lines
GRADIENT_SAMPLES = 10000  # training samples that the gradient of Fig. 3.2 is taken over
LAYERS = ("layer 1", "layer 2", "layer 3")
SHRUNK = 20  # what the third layer's gradients are divided by in Fig. 3.2


class Probe:
    """Per network, layer and epoch: RMS of the gradient of the mean loss, and entropies for all M and F."""

    def __init__(self, trial: Trial) -> None:
        self.generator = torch.Generator().manual_seed(SEEDS_OF_SAMPLING + min(seeds(trial)))
        self.rms: list[list[list[float]]] = []  # [epoch][layer][network]
        self.entropy: dict[str, list[list[list[float]]]] = {key(m, f): [] for m in ENTROPY_BITS for f in FRACTIONS}

    def __call__(self, networks: Networks, samples: Samples) -> None:
        gradients = networks.gradients(samples.x_train[:GRADIENT_SAMPLES], samples.target[:GRADIENT_SAMPLES])
        self.rms.append([g.square().mean((1, 2), dtype=torch.float64).sqrt().tolist() for g in gradients])
        for m, f in itertools.product(ENTROPY_BITS, FRACTIONS):
            found = [[float(ops.entropy(w, m, f, self.generator)) for w in layer] for layer in networks.weights]
            self.entropy[key(m, f)].append(found)

    def as_dict(self) -> dict[str, Any]:
        """Means over the networks, [layer][epoch]; correlations [layer][network]."""
        sampled = self.entropy[key(4, 0.03)]
        correlations = [
            [
                correlation([math.log(epoch[k][i] + 1) for epoch in self.rms], [epoch[k][i] for epoch in sampled])
                for i in range(len(self.rms[0][k]))
            ]
            for k in range(len(LAYERS))
        ]
        return {
            "rms": _means(self.rms, 8),
            "entropy": {name: _means(values, 4) for name, values in self.entropy.items()},
            "pearson": [[pair[0] for pair in layer] for layer in correlations],
            "cosine": [[pair[1] for pair in layer] for layer in correlations],
        }


def key(m: int, f: float) -> str:
    return f"M={m} F={f:g}"


def correlation(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Pearson's coefficient, and the cosine: the same without subtracting the means. 0 where one does not vary."""

    def cosine(u: Sequence[float], v: Sequence[float]) -> float:
        scale = math.hypot(*u) * math.hypot(*v)
        return sum(x * y for x, y in zip(u, v, strict=True)) / scale if scale else 0.0

    mean_a, mean_b = statistics.fmean(a), statistics.fmean(b)
    return round(cosine([x - mean_a for x in a], [x - mean_b for x in b]), 4), round(cosine(a, b), 4)


def _means(values: list[list[list[float]]], digits: int) -> list[list[float]]:
    """[layer][epoch] from [epoch][layer][network]."""
    return [[round(statistics.fmean(networks), digits) for networks in layer] for layer in zip(*values, strict=True)]


def run(trial: Trial) -> dict[str, Any]:
    probe = Probe(trial)
    return {**train(trial, probe), **probe.as_dict()}


def mean_over_trials(result: Result, label: str, *path: str) -> list[list[float]]:
    """rms, or an entropy, of `label`: [layer][epoch]."""
    found = []
    for trial in result.of(label):
        for step in path:
            trial = trial[step]
        found.append(trial)
    return [[statistics.fmean(values) for values in zip(*layers, strict=True)] for layers in zip(*found, strict=True)]


def coefficients(result: Result, label: str, kind: str, layer: int) -> list[float]:
    return [value for trial in result.of(label) for value in trial[kind][layer]]


def table(result: Result) -> Table:
    rows: list[list[str | float | None]] = []
    for label in result.settings:
        rms, entropy = mean_over_trials(result, label, "rms"), mean_over_trials(result, label, "entropy", key(4, 0.03))
        for k, name in enumerate(LAYERS):
            pearson, cosine = (statistics.fmean(coefficients(result, label, s, k)) for s in ("pearson", "cosine"))
            rows.append([label, name, rms[k][0], rms[k][-1], entropy[k][0], entropy[k][-1], pearson, cosine])
    columns = ["Start", "Layer", "RMS first", "RMS last", "H first", "H last", "Pearson", "Cosine"]
    caption = (
        "RMS gradient G and entropy H (M = 4, F = 0.03) after the first and the last epoch; correlation over the "
        "epochs of ln(G + 1) and H, Pearson's and without subtracting the means (thesis: above 0.75)."
    )
    return Table(columns, rows, caption)


def figures(result: Result) -> list[Plot]:
    panels: dict[str, dict[str, tuple[Sequence[float], Sequence[float]]]] = {}
    for label in result.settings:
        rms = mean_over_trials(result, label, "rms")
        rms[2] = [value / SHRUNK for value in rms[2]]
        panels[label] = {name: (_epochs(line), line) for name, line in zip(LAYERS, rms, strict=True)}
        panels[label][f"layer 3 (1/{SHRUNK})"] = panels[label].pop("layer 3")
    caption = (
        f"Fig. 3.2: RMS of the loss's derivatives with respect to the weights, over (up to) {GRADIENT_SAMPLES} "
        f"training samples after each epoch; the third layer's divided by {SHRUNK}, as in the thesis."
    )
    out = [plots.curves("figure_3_2", caption, panels, x="epoch", y="RMS gradient", columns=2)]
    for label in result.settings:
        panels = {}
        for m in ENTROPY_BITS:
            lines = {f: mean_over_trials(result, label, "entropy", key(m, f)) for f in FRACTIONS}
            panels[f"M = {m}"] = {
                f"{name} F={f:g}": (_epochs(lines[f][k]), lines[f][k])
                for k, name in enumerate(LAYERS)
                for f in FRACTIONS
            }
        name = f"figure_3_3_{label.replace(' ', '_')}"
        caption = f"Fig. 3.3: entropy of the weights of each layer, from a fraction F of them ({label})."
        out.append(plots.curves(name, caption, panels, x="epoch", y="entropy, bits", columns=2, scale=1.2))
    return out


def _epochs(line: Sequence[float]) -> list[int]:
    return list(range(1, len(line) + 1))


def claims(result: Result) -> list[Claim]:
    return [claim for label in result.settings for claim in claims_of(result, label)]


def claims_of(result: Result, label: str) -> list[Claim]:
    out = []
    rms = mean_over_trials(result, label, "rms")
    exact = mean_over_trials(result, label, "entropy", key(4, 1.0))
    falls = [layer[-1] / layer[0] for layer in rms]
    out.append(
        Claim(
            f"{label}: the derivatives of all layers go towards zero",
            "yes, with noise",
            f"last to first epoch: {_list(falls, '.2g')}",
            max(falls) < 0.5,
        )
    )
    middle = [statistics.median(layer) for layer in rms]
    out.append(
        Claim(
            f"{label}: derivatives are larger in higher layers",
            "yes, third scaled by 20",
            f"medians {_list(middle, '.2g')}",
            middle == sorted(middle),
        )
    )
    change = [layer[-1] - layer[0] for layer in exact]
    out.append(
        Claim(
            f"{label}: the entropy falls with the epochs",
            "yes",
            f"change from first to last epoch, M = 4: {_list(change, '+.2f')} bits",
            max(change) < 0,
        )
    )
    sampled = mean_over_trials(result, label, "entropy", key(4, 0.03))
    off = [max(abs(a - b) for a, b in zip(one, two, strict=True)) for one, two in zip(sampled, exact, strict=True)]
    out.append(
        Claim(
            f"{label}: F has very little effect",
            "yes",
            f"F = 0.03 against 1, M = 4: at most {_list(off, '.2f')} bits apart",
            max(off) < 0.2,
        )
    )
    for kind, name in (("pearson", "Pearson"), ("cosine", "cosine")):
        found = [coefficients(result, label, kind, k) for k in range(len(LAYERS))]
        out.append(
            Claim(
                f"{label}: correlation of ln(G + 1) and the entropy, {name}",
                "above 0.75, often above 0.95",
                f"{_list(list(map(statistics.fmean, found)), '.2f')} (smallest {min(map(min, found)):.2f})",
                min(map(min, found)) > 0.75,
            )
        )
    return out


def _list(values: Sequence[float], form: str) -> str:
    return ", ".join(f"{value:{form}}" for value in values)


EXPERIMENT = Experiment(
    title="Gradients and entropies of the layers",
    thesis="Figs. 3.2 and 3.3, secs. 3.3 to 3.5",
    about=f"{NETWORK} Nothing is quantized here. {SMALL_START} “Slow” is the standard start, but lr.",
    settings=SETTINGS,
    full=Plan(trials=1, epochs=100, data="torchvision:MNIST", options=FULL),
    quick=Plan(trials=1, epochs=3, data="digits", options=QUICK, smoke=True),
    run=run,
    table=table,
    plots=figures,
    claims=claims,
    options=OPTIONS,
)

"""What several experiments of chapter 3 compute from the results of `training.train`."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from effdl_fast.reproduce.experiment import Result

UNCOMPRESSED = 32  # bits of a float32 weight, to which the thesis's factors refer


def curves(result: Result, label: str) -> list[list[float]]:
    """Test accuracy, percent, of every network of every trial of `label`: one list over the epochs each."""
    return [curve for run in result.of(label) for curve in run["accuracy"]]


def best(result: Result, label: str) -> list[float]:
    """The largest test accuracy of each network."""
    return [max(curve) for curve in curves(result, label)]


def last(result: Result, label: str) -> list[float]:
    """The test accuracy of each network after the last epoch."""
    return [curve[-1] for curve in curves(result, label)]


def peaks(result: Result, label: str) -> list[int]:
    """The 1-based epoch of each network's largest test accuracy: the thesis's convergence (sec. 3.9)."""
    return [curve.index(max(curve)) + 1 for curve in curves(result, label)]


def gain(values: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Mean of values - others, network by network, and its standard error (0 for a single one)."""
    differences = [a - b for a, b in zip(values, others, strict=True)]
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else 0.0
    return statistics.fmean(differences), error


def layer_rates(result: Result, label: str, key: str) -> list[list[float]] | None:
    """bits, huffman or record per layer and epoch, means over the trials; None where a trial has none."""
    runs = result.of(label)
    if not all(key in run for run in runs):
        return None
    stacked = zip(*(run[key] for run in runs), strict=True)
    return [[statistics.fmean(values) for values in zip(*layer, strict=True)] for layer in stacked]


def rates(result: Result, label: str, key: str) -> list[float] | None:
    """bits, huffman or record per weight and epoch, over all layers: every weight counts the same."""
    layers, sizes = layer_rates(result, label, key), result.of(label)[0]["sizes"]
    if layers is None:
        return None
    return [sum(n * v for n, v in zip(sizes, values, strict=True)) / sum(sizes) for values in zip(*layers, strict=True)]


def mean_rate(result: Result, label: str, key: str) -> float | None:
    """The mean over epochs of `rates`."""
    values = rates(result, label, key)
    return statistics.fmean(values) if values is not None else None


def mean_layer_rate(result: Result, label: str, key: str) -> float | None:
    """The mean over epochs and layers: every layer counts the same, however many weights it has."""
    layers = layer_rates(result, label, key)
    return statistics.fmean(map(statistics.fmean, layers)) if layers is not None else None

"""Which samples a feature lets pass, and what they say about the class (thesis 5.5.2 to 5.5.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effdl_fast.metrics._inputs import blocks, check_finite, classes, entropy_bits, matrix, samples
from effdl_fast.metrics.filtering import as_tensor
from effdl_fast.ops._arguments import number

MAPS = ("units", "channels")


class ConditionalEntropy(NamedTuple):
    """H(Y|Z) in bits, feature by feature and for the layer."""

    per_feature: (
        Tensor  # float64 (f,): the entropy of the classes that the feature selects; NaN where it selects nothing
    )
    mean: Tensor  # float64 0-d: over the features that select something (Figure 5.21); NaN if none does
    weighted_mean: Tensor  # float64 0-d: the same, weighted by the number of selected samples
    sizes: Tensor  # int64 (f,): how many samples each feature selects


def selections(z: Any, threshold: float | Sequence[float] = 0.0, *, maps: str = "units") -> Tensor:
    """The selections S+: which samples fall outside of the flat region of each feature's activation (5.5.4).

    Args:
        z: (m, f) outputs of an activation, or (m, ...): float32, float64, float16, bfloat16 or uint8.
        threshold: a number: selected is z > threshold, which with 0 is the selection of the ReLU (and of ELU, SiLU and
            GELU but for the small negative values on the shoulder of their flat side). Two numbers: selected is
            low < z < high, for activations that are flat on both sides: (0.01, 0.99) for the logistic sigmoid,
            (-0.99, 0.99) for tanh, (0, 6) for ReLU6. An activation without a flat region selects everything; take its
            input and 0 to know on which side of the kink the samples are.
        maps: what a feature is where z has more than two dimensions. "units": each unit, so that (m, c, h, w) has
            c h w features. "channels": each channel (dimension 1), which selects a sample if any position does; for
            the ReLU that is max-pooling the map.

    Returns:
        bool (m, features).

    Raises:
        ValueError: NaN or infinity (the message names the row), unknown maps, low >= high.
        TypeError: wrong dtypes.
    """
    low, high = _bounds("selections", threshold)
    _check_maps("selections", maps)
    z = as_tensor("selections", "z", z)
    check_finite("selections", "z", matrix("selections", "z", z))
    return _selected(z, low, high, maps)


def conditional_entropy(
    z: Any, y: Any, *, threshold: float | Sequence[float] = 0.0, maps: str = "units"
) -> ConditionalEntropy:
    """H(Y|Z): the entropy of the class distribution of what each feature selects, in bits (5.5.4, Figures 5.18-5.21).

    The selection S+(z) of a feature is the set of samples that its activation does not filter (see `selections`); the
    share of each class in it is a distribution, and its entropy is H(Y|Z) of the feature: from 0 (one class only) to
    log2 of the number of classes. A layer's value is the average over its features, as in Figure 5.21. A feature that
    selects nothing (a dead unit) has no distribution: its entropy is NaN, and both averages leave it out.

    Args:
        z, threshold, maps: as `selections`.
        y: (m,) class labels of any integer dtype or bool.

    Returns:
        ConditionalEntropy(per_feature, mean, weighted_mean, sizes).

    Raises:
        ValueError: no samples, NaN or infinity (the message names the row), shapes or devices that do not fit.
        TypeError: wrong dtypes.
    """
    op = "conditional_entropy"
    low, high = _bounds(op, threshold)
    _check_maps(op, maps)
    z = as_tensor(op, "z", z)
    found, index = classes(op, y, samples(op, "z", z))
    counts = _class_counts(z, index, len(found), low, high, maps)
    sizes = counts.sum(dim=1)
    per_feature = entropy_bits(counts)
    return ConditionalEntropy(
        per_feature, per_feature.nanmean(), (per_feature * sizes).nansum() / sizes.sum(), sizes.long()
    )


def _class_counts(z: Tensor, index: Tensor, classes: int, low: float, high: float, maps: str) -> Tensor:
    """float64 (features, classes): how many samples of each class each feature selects."""
    m = z.shape[0]
    width = z[0].numel()
    features = z.shape[1] if maps == "channels" and z.dim() > 1 else width
    counts = z.new_zeros((features, classes), dtype=torch.float64)
    for begin, end in blocks(m, width + classes):
        selected = _selected(z[begin:end], low, high, maps).float()  # a block has at most 2^22 rows: sums are exact
        counts += selected.T @ torch.nn.functional.one_hot(index[begin:end], classes).float()
    return counts


def _selected(z: Tensor, low: float, high: float, maps: str) -> Tensor:
    selected = z > low
    if high != float("inf"):
        selected &= z < high
    if z.dim() == 1:
        return selected[:, None]
    return selected.flatten(2).any(dim=2) if maps == "channels" and z.dim() > 2 else selected.flatten(1)


def _bounds(op: str, threshold: float | Sequence[float]) -> tuple[float, float]:
    if not isinstance(threshold, Sequence):
        return number(op, "threshold", threshold), float("inf")
    if len(threshold) != 2:
        raise ValueError(f"{op}: threshold must be a number or two, got {threshold!r}")
    low, high = (number(op, "threshold", t) for t in threshold)
    if low >= high:
        raise ValueError(f"{op}: threshold must be (low, high) with low < high, got {threshold!r}")
    return low, high


def _check_maps(op: str, maps: str) -> None:
    if maps not in MAPS:
        raise ValueError(f"{op}: maps must be one of {', '.join(MAPS)}, got {maps!r}")

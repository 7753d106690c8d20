"""Inputs of the separable losses (exp_ga_loss, pow3_ga_loss, linear_ga_loss): they take the same tensors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from effdl_fast.testing.cases import Call, Case


@dataclass(frozen=True)
class Spec:
    """What one case of a separable loss looks like; `make` turns it into tensors."""

    name: str
    shape: tuple[int, ...]
    layout: str = "contiguous"
    target: str = "index"  # index, int32, dense, smoothed, all_ignored
    ignored: float = 0.0  # this fraction of the samples
    poison: bool = False  # inf and NaN in the logits of ignored samples
    alpha: str | None = None  # class, sample, class2d, sample2d, position, zero_dim; None: the op's default
    weight: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    scale: float = 2.0  # standard deviation of the logits
    flags: dict[str, Any] = field(default_factory=dict)  # of Case


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(0, 1).contiguous().transpose(0, 1),  # classes far apart, samples adjacent
    "channels_last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "every_other_class": lambda x: _inside(x, 1),
    "every_other_position": lambda x: _inside(x, x.dim() - 1),
    "every_other_sample": lambda x: _inside(x, 0),
    "unaligned": lambda x: torch.cat([x.new_zeros(1), x.reshape(-1)])[1:].view(x.shape),
    "expanded": lambda x: x[:1].expand(x.shape),
    "spatial_swapped": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2),  # cannot be flattened in place
}


def _inside(x: Tensor, dim: int) -> Tensor:
    """x as every other slice of a larger tensor that holds NaN in between: reading or writing there shows."""
    shape = list(x.shape)
    shape[dim] *= 2
    view = x.new_full(shape, float("nan")).unflatten(dim, (-1, 2)).select(dim + 1, 1)
    view.copy_(x)
    return view


def _target(spec: Spec, generator: torch.Generator, dtype: torch.dtype, ignore_index: int) -> Tensor:
    shape = spec.shape
    samples = shape[:1] + shape[2:] if len(shape) > 1 else ()
    classes = shape[1] if len(shape) > 1 else shape[0]
    if spec.target == "dense":
        return torch.rand(shape, generator=generator).to(dtype)
    index = torch.randint(classes, samples, generator=generator)
    if spec.target == "smoothed":
        hot = torch.nn.functional.one_hot(index, classes).movedim(-1, 1 if len(shape) > 1 else 0)
        return (hot * 0.9 + 0.1 / classes).to(dtype)
    if spec.target == "all_ignored":
        return torch.full(samples, ignore_index)
    index[torch.rand(samples, generator=generator) < spec.ignored] = ignore_index
    return index.to(torch.int32) if spec.target == "int32" else index


def _alpha(spec: Spec, generator: torch.Generator) -> Tensor | None:
    n, c = spec.shape[0], spec.shape[1] if len(spec.shape) > 1 else spec.shape[0]
    ones = (1,) * (len(spec.shape) - 2)
    shapes: dict[str, tuple[int, ...]] = {
        "class": (c,), "sample": (n,), "class2d": (1, c, *ones), "sample2d": (n, 1, *ones),
        "position": (n, *spec.shape[2:]), "zero_dim": ()}  # fmt: skip
    return None if spec.alpha is None else 0.25 + torch.rand(shapes[spec.alpha], generator=generator)


def make(spec: Spec, device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> Call:
    x = torch.randn(spec.shape, generator=generator).mul_(spec.scale).to(dtype)
    options = dict(spec.options)
    target = _target(spec, generator, dtype, options.get("ignore_index", -100))
    if spec.poison:
        gone = (target == options.get("ignore_index", -100)).unsqueeze(1).expand(spec.shape)
        x = torch.where(gone, torch.tensor([float("nan"), float("inf"), -float("inf")])[torch.arange(x.numel()) % 3]
                        .view(x.shape).to(dtype), x)  # fmt: skip
    alpha = _alpha(spec, generator)
    if alpha is not None:
        options["alpha"] = (alpha.double() if dtype is torch.float64 else alpha).to(device)
    if spec.weight:
        classes = spec.shape[1] if len(spec.shape) > 1 else spec.shape[0]
        weight = 0.5 + torch.rand(classes, generator=generator)
        options["weight"] = (weight.double() if dtype is torch.float64 else weight).to(device)
    return Call((LAYOUTS[spec.layout](x.to(device)), target.to(device)), options)


_SMALL = {"gradcheck": True}
_BENCH = {"test": False, "bench": True}

_SPECS = [
    Spec("vector", (7,), flags=_SMALL),
    Spec("vector_dense", (7,), target="dense"),
    Spec("one_by_one", (1, 1), flags=_SMALL),
    Spec("one_class", (5, 1)),
    Spec("one_sample", (1, 33)),
    Spec("5x3", (5, 3), flags=_SMALL),
    Spec("batch", (37, 67)),
    Spec("two_pieces", (3, 16384 + 5)),  # rows longer than a work item
    Spec("100k_classes", (1, 100_000)),
    Spec("int32_target", (9, 17), target="int32"),
    Spec("dense", (9, 35), target="dense"),
    Spec("dense_small", (3, 4), target="dense", flags=_SMALL),
    Spec("dense_weight", (9, 35), target="dense", weight=True),
    Spec("dense_transposed", (9, 35), layout="transposed", target="dense"),
    Spec("smoothed", (9, 35), target="smoothed"),
    Spec("thesis_targets", (9, 35), options={"target_value": 6.0, "negative_value": -1.0}),
    Spec("weight", (19, 35), weight=True),
    Spec("ignored", (19, 35), ignored=0.3),
    Spec("ignored_weight", (19, 35), ignored=0.3, weight=True, options={"ignore_index": 3}),
    Spec("ignored_poison", (19, 35), ignored=0.4, poison=True),
    Spec("all_ignored", (4, 5), target="all_ignored", poison=True),
    Spec("empty_batch", (0, 5)),
    Spec("transposed", (37, 67), layout="transposed"),
    Spec("transposed_poison", (37, 67), layout="transposed", ignored=0.4, poison=True),
    Spec("every_other_class", (11, 35), layout="every_other_class"),
    Spec("every_other_sample", (11, 35), layout="every_other_sample"),
    Spec("unaligned", (11, 37), layout="unaligned"),
    Spec("expanded", (11, 35), layout="expanded"),
    Spec("1d", (3, 5, 37), ignored=0.2, weight=True),
    Spec("1d_small", (2, 3, 4), flags=_SMALL),
    Spec("1d_dense", (3, 5, 37), target="dense"),
    Spec("1d_every_other", (3, 5, 37), layout="every_other_position"),
    Spec("2d", (2, 21, 19, 17)),
    Spec("2d_long_plane", (2, 3, 41, 29)),  # more positions than one block of a plane
    Spec("2d_many_classes", (1, 131, 5, 7)),  # partial sums are flushed on the way
    Spec("2d_poison", (2, 7, 9, 17), ignored=0.4, poison=True),
    Spec("2d_dense", (2, 5, 9, 17), target="dense", weight=True),
    Spec("2d_channels_last", (2, 21, 9, 17), layout="channels_last", ignored=0.2),
    Spec("2d_channels_last_dense", (2, 21, 9, 17), layout="channels_last", target="smoothed"),
    Spec("2d_every_other_class", (2, 6, 9, 17), layout="every_other_class"),
    Spec("2d_spatial_swapped", (2, 6, 9, 17), layout="spatial_swapped"),
    Spec("2d_expanded", (3, 6, 5, 7), layout="expanded"),
    Spec("3d", (2, 4, 3, 5, 7)),
    Spec("2d_empty_plane", (2, 3, 0, 4)),
]

_ALPHA_SPECS = [
    Spec("alpha_number", (9, 35), options={"alpha": 0.3}, flags=_SMALL),
    Spec("alpha_integer", (9, 35), options={"alpha": 2}),
    Spec("alpha_zero_dim", (9, 35), alpha="zero_dim"),
    Spec("alpha_class", (9, 35), alpha="class"),
    Spec("alpha_class_pieces", (2, 16384 + 37), alpha="class"),
    Spec("alpha_class_transposed", (9, 1100), alpha="class", layout="transposed"),  # more than one packed piece
    Spec("alpha_sample", (9, 35), alpha="sample"),
    Spec("alpha_class2d", (9, 9), alpha="class2d"),
    Spec("alpha_sample2d", (9, 9), alpha="sample2d"),
    Spec("alpha_vector", (9,), alpha="class"),
    Spec("2d_alpha_number", (2, 5, 9, 17), options={"alpha": 0.3}),
    Spec("2d_alpha_class", (2, 5, 9, 17), alpha="class"),
    Spec("2d_alpha_sample", (3, 5, 9, 17), alpha="sample"),
    Spec("2d_alpha_sample2d", (3, 5, 9, 17), alpha="sample2d"),
    Spec("2d_alpha_position", (3, 5, 33, 37), alpha="position"),
    Spec("2d_alpha_position_channels_last", (3, 5, 9, 17), alpha="position", layout="channels_last"),
]

_BENCH_SPECS = [
    Spec("128x10", (128, 10), flags=_BENCH),
    Spec("1024x32000", (1024, 32000), flags=_BENCH),
    Spec("8x21x224x224", (8, 21, 224, 224), flags=_BENCH),
]


def cases(*more: Spec, alpha: bool = True) -> list[Case]:
    """The cases of one op: the common ones, those with alpha if it has one, its own, and those of the benchmarks."""
    specs = [*_SPECS, *(_ALPHA_SPECS if alpha else []), *more, *_BENCH_SPECS]
    return [Case(s.name, _maker(s), **s.flags) for s in specs]


def _maker(spec: Spec) -> Callable[[torch.device, torch.dtype, torch.Generator], Call]:
    return lambda device, dtype, generator: make(spec, device, dtype, generator)

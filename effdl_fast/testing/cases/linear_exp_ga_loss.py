"""Cases of linear_exp_ga_loss: (input, weight, target, bias). Small weights keep the exponentials within float16."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from effdl_fast.testing.cases import Call, Case


@dataclass(frozen=True)
class Spec:
    name: str
    rows: tuple[int, ...]
    features: int
    classes: int
    bias: bool = True
    dense: bool = False
    ignored: float = 0.0  # this fraction of the samples; their features hold inf and NaN
    alpha: str | None = None  # class, sample
    class_weight: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    flags: dict[str, Any] = field(default_factory=dict)


def make(spec: Spec, device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> Call:
    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    wide = torch.float64 if dtype is torch.float64 else torch.float32
    options = dict(spec.options)
    x = normal(*spec.rows, spec.features)
    weight = normal(spec.classes, spec.features) / spec.features**0.5
    target = torch.randint(spec.classes, spec.rows, generator=generator)
    if spec.ignored:
        gone = torch.rand(spec.rows, generator=generator) < spec.ignored
        target[gone] = options.get("ignore_index", -100)
        x[gone] = torch.tensor([float("inf"), float("nan")])[torch.arange(spec.features) % 2]
    if spec.dense:
        target = torch.rand((*spec.rows, spec.classes), generator=generator).to(dtype)
    if spec.alpha:
        n = x.shape[:-1].numel()
        shape = (1, spec.classes) if spec.alpha == "class" else (n, 1)
        options["alpha"] = (0.25 + torch.rand(shape, generator=generator)).to(device, wide)
    if spec.class_weight:
        options["class_weight"] = (0.5 + torch.rand(spec.classes, generator=generator)).to(device, wide)
    args = [x.to(device, dtype), weight.to(device, dtype), target.to(device)]
    if spec.bias:
        args.append((normal(spec.classes) * 0.1).to(device, dtype))
    return Call(tuple(args), options, (0, 1, 3) if spec.bias else (0, 1))


_SMALL = {"gradcheck": True}
_TILES = {"chunk_bytes": 512}
_BENCH = {"test": False, "bench": True, "dtypes": (torch.float32, torch.bfloat16)}

SPECS = [
    Spec("5x4_3", (5,), 4, 3, flags=_SMALL),
    Spec("no_bias", (5,), 4, 3, bias=False, flags=_SMALL),
    Spec("small_dense", (3,), 2, 4, dense=True, class_weight=True, options={"chunk_bytes": 32}, flags=_SMALL),
    Spec("small_tiles", (5,), 4, 7, ignored=0.4, options={"chunk_bytes": 48, "clamp": 0.3}, flags=_SMALL),
    Spec("one_sample", (1,), 16, 37),
    Spec("one_class", (9,), 16, 1),
    Spec("vector", (), 16, 37),
    Spec("leading_dims", (3, 5), 16, 37, ignored=0.3),
    Spec("empty_batch", (0,), 16, 37),
    Spec("more_classes", (19,), 33, 301, ignored=0.3),
    Spec("more_rows", (301,), 33, 19, ignored=0.3),
    Spec("more_classes_tiles", (19,), 33, 301, ignored=0.3, options=_TILES),
    Spec("more_rows_tiles", (301,), 33, 19, ignored=0.3, class_weight=True, options=_TILES),
    Spec("class_slices", (19,), 33, 1301, options={"chunk_bytes": 1 << 14}),
    Spec("dense", (19,), 33, 41, dense=True, options=_TILES),
    Spec("dense_weight", (19,), 33, 41, dense=True, class_weight=True, options=_TILES),
    Spec("alpha_class", (19,), 33, 41, alpha="class", options=_TILES),
    Spec("alpha_sample", (19,), 33, 41, alpha="sample", options=_TILES),
    Spec("thesis_targets", (19,), 33, 41, options={"target_value": 6.0, "negative_value": -1.0, "alpha": 0.3}),
    Spec("4096x512_32000", (4096,), 512, 32000, bias=False, flags=_BENCH),
    Spec("1024x768_50257", (1024,), 768, 50257, bias=False, flags=_BENCH),
    Spec("128x512_1000", (128,), 512, 1000, flags=_BENCH),
]


def _maker(spec: Spec) -> Callable[[torch.device, torch.dtype, torch.Generator], Call]:
    return lambda device, dtype, generator: make(spec, device, dtype, generator)


CASES = [Case(s.name, _maker(s), **s.flags) for s in SPECS]

"""Networks of chapter 5, training them, and the representations in their layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from effdl_fast.data import Dataset
from effdl_fast.reproduce.ch4.parts.outputs import make_loss
from effdl_fast.reproduce.experiment import Number, Trial
from effdl_fast.reproduce.train import EVAL_BATCH, History, Observer, Recipe, build, train

RECIPE_KEYS = frozenset(field.name for field in fields(Recipe))
SUBSET = {
    "train_samples": Number(int, 1, 10**9, optional=True),
    "test_samples": Number(int, 1, 10**9, optional=True),
}
WHOLE: dict[str, Any] = {"train_samples": None, "test_samples": None}
PROBE = Number(int, 2, 10**9)
Watcher = TypeVar("Watcher", bound=Observer)


def mlp(
    sample_shape: tuple[int, ...], hidden: Sequence[int], outputs: int, *, rectified: bool = False
) -> nn.Sequential:
    """Fully connected with ReLU in the hidden layers, in the output layer too if `rectified`; PyTorch's own start."""
    sizes = (math.prod(sample_shape), *hidden, outputs)
    layers: list[nn.Module] = [nn.Flatten()]
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.ReLU()]
    return nn.Sequential(*(layers if rectified else layers[:-1]))


def part_of(trial: Trial) -> Dataset:
    """The data of `trial`, or the random part that the options train_samples and test_samples name."""
    data, options = trial.dataset, trial.plan.options
    parts = options["train_samples"], options["test_samples"]
    return data.subset(parts[0] or len(data.x_train), parts[1] or len(data.x_test)) if any(parts) else data


def fit(trial: Trial, data: Dataset, make: Callable[[], nn.Module]) -> tuple[nn.Module, History]:
    """Train make() on `data` as trial.setting says: its `output` names the loss, the rest is a `Recipe`."""
    model = build(make, trial.seed).to(trial.device)
    return model, _train(trial, data, model, None)


def watch(
    trial: Trial, data: Dataset, make: Callable[[], nn.Module], observe: Callable[[nn.Module], Watcher]
) -> tuple[Watcher, History]:
    """As `fit`, seen by observe(model)."""
    model = build(make, trial.seed).to(trial.device)
    observer = observe(model)
    return observer, _train(trial, data, model, observer)


def _train(trial: Trial, data: Dataset, model: nn.Module, observer: Observer | None) -> History:
    setting = trial.setting
    recipe = Recipe(epochs=trial.plan.epochs, **{key: setting[key] for key in setting if key in RECIPE_KEYS})
    loss = make_loss(setting["output"], **({"target_value": 1.0} if setting["output"] == "linear" else {}))
    return train(model, loss, data, recipe, seed=trial.seed, observer=observer, tick=trial.tick)


def representations(model: nn.Module, x: Tensor, kind: type[nn.Module] = nn.ReLU) -> list[Tensor]:
    """What each module of `kind` in `model` gives for x, in the order of computation and in evaluation mode.

    The network's output is the last element where its last module is not of that kind.
    """
    found: list[list[Tensor]] = []
    latest: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: latest.append(output))
        for module in model.modules()
        if isinstance(module, kind)
    ]
    mode = model.training
    model.eval()
    try:
        with torch.no_grad():
            for block in x.split(EVAL_BATCH):
                latest.clear()
                out = model(block)
                if not latest or latest[-1] is not out:
                    latest.append(out)
                found.append(list(latest))
    finally:
        model.train(mode)
        for hook in hooks:
            hook.remove()
    return [torch.cat(blocks) for blocks in zip(*found, strict=True)]


def random_part(x: Tensor, y: Tensor, count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """At most `count` samples, the same ones for one seed."""
    pick = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:count].to(x.device)
    return x[pick], y[pick]


def ordered(values: Sequence[float], slack: float = 0.0) -> bool:
    """Whether each value is below the one before, or above by at most `slack`."""
    return all(b < a + slack for a, b in itertools.pairwise(values))

"""What is exchanged: weights, their change over an epoch, and gradients of a network that two workers train."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

import effdl_fast as ef
from effdl_fast import data as datasets

Workload = dict[str, Any]  # elements, bytes, what; per rank: weights, reference (before the last epoch), gradients
BATCH, LR = 32, 0.3


def trained(spec: str, epochs: int, progress: Callable[[str], Any]) -> Workload:
    """The thesis's network (784-392-50-10, tanh, squared error) after `epochs` epochs of local SGD on two halves.

    In one process; the parameters are averaged after every epoch but the last as `average_parameters` would do it.
    """
    loaded = datasets.load(spec)
    classes = len(loaded.classes)
    target = 2 * F.one_hot(loaded.y_train, classes).float() - 1
    torch.manual_seed(0)
    models = [_network(loaded.features, classes) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    reference = _copies(models[0])
    for epoch in range(epochs):
        if epoch > 0:
            reference = _average(models)
        for rank, model in enumerate(models):
            _train_epoch(model, loaded.x_train[rank::2], target[rank::2])
        correct = (models[0](loaded.x_test).argmax(1) == loaded.y_test).float().mean()
        progress(f"epoch {epoch + 1} of {epochs}: test accuracy {float(correct):.4f}")
    weights = [_copies(model) for model in models]
    gradients = []
    for rank, model in enumerate(models):
        model.zero_grad()
        F.mse_loss(model(loaded.x_train[rank : 2 * BATCH : 2]), target[rank : 2 * BATCH : 2]).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    what = f"{loaded.features}-392-50-{classes}, {epochs} epochs on {loaded.name}"
    return _workload(what, weights, [reference] * 2, gradients)


def stored(path: Path) -> Workload:
    """The float weights of a .safetensors file, the same on both ranks; nothing is known of changes and gradients."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        weights = [file.get_tensor(name) for name in file.offset_keys()]
    weights = [w.float() for w in weights if w.is_floating_point()]
    return _workload(path.name, [weights] * 2, None, None)


def _workload(what: str, weights: list, reference: list | None, gradients: list | None) -> Workload:
    elements = sum(w.numel() for w in weights[0])
    return {"what": what, "elements": elements, "weights": weights, "reference": reference, "gradients": gradients}


def _network(features: int, classes: int) -> torch.nn.Module:
    sizes = (features, 392, 50, classes)
    layers = [(torch.nn.Linear(a, b), torch.nn.Tanh()) for a, b in pairwise(sizes)]
    return torch.nn.Sequential(torch.nn.Flatten(), *(part for layer in layers for part in layer))


def _train_epoch(model: torch.nn.Module, x: Tensor, target: Tensor) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)
    for part in torch.randperm(len(x)).split(BATCH):
        optimizer.zero_grad()
        F.mse_loss(model(x[part]), target[part]).backward()
        optimizer.step()


def _copies(model: torch.nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in model.parameters()]


@torch.no_grad()
def _average(models: list[torch.nn.Module]) -> list[Tensor]:
    for ps in zip(*(m.parameters() for m in models), strict=True):
        mean = sum(ef.ops.decompress_weights(ef.ops.compress_weights(p)).view(p.shape) for p in ps) / len(ps)
        for p in ps:
            p.copy_(mean)
    return _copies(models[0])

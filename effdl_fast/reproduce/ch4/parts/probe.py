"""What sec. 4.10 and Fig. 4.5 look at inside a run: error gradients in every layer, the softmax normaliser."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from effdl_fast.reproduce.train import Observer

HISTOGRAM_EPOCHS = (1, 4)  # Fig. 4.2
BINS = 60


class GradientProbe(Observer):
    """Records, with gradients per sample (the batch-mean gradient times the batch size, as the thesis's y - t):

    histograms   of the output error gradients of the first mini-batch of epochs 1 and 4
    rms          per layer and epoch: root mean square of the gradients at the output of each convolution, and of y - t
    log_s        per epoch: mean of ln s, s = sum_i exp(x_i) of one sample
    s_first      at the first step: mean s, and s summed over the mini-batch
    """

    def __init__(self) -> None:
        self.layers: list[str] = []
        self.histograms: dict[str, dict[str, list[float]]] = {}
        self.s_first: dict[str, float | None] = {}
        self._squares: dict[int, dict[str, Tensor]] = {}
        self._log_s: dict[int, Tensor] = {}
        self._steps: dict[int, int] = {}
        self._latest: dict[str, Tensor] = {}

    def watch(self, model: nn.Module) -> nn.Module:
        """Attach to every convolution of `model`, in order; returns the model."""
        convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
        self.layers = [f"conv {i}" for i in range(1, len(convolutions) + 1)] + ["output"]
        for name, module in zip(self.layers, convolutions, strict=False):
            module.register_forward_hook(self._hook(name))
        return model

    def _hook(self, name: str) -> Any:
        """A forward hook that has the gradient of a layer's output recorded when it is computed."""

        def keep(gradient: Tensor) -> None:
            self._latest[name] = (gradient * len(gradient)).square().mean(dtype=torch.float64)

        def attach(module: nn.Module, inputs: Any, output: Tensor) -> None:
            if output.requires_grad:
                output.register_hook(keep)

        return attach

    def after_backward(self, epoch: int, step: int, logits: Tensor) -> None:
        if logits.grad is None:
            raise RuntimeError("probe: the logits have no gradient")
        delta = logits.grad * len(logits)
        self._latest["output"] = delta.square().mean(dtype=torch.float64)
        squares = self._squares.setdefault(epoch, {})
        for name, value in self._latest.items():
            squares[name] = squares.get(name, torch.zeros_like(value)) + value
        log_s = torch.logsumexp(logits.detach().double(), 1)
        self._log_s[epoch] = self._log_s.get(epoch, torch.zeros_like(log_s[0])) + log_s.mean()
        self._steps[epoch] = step + 1
        if step == 0 and epoch in HISTOGRAM_EPOCHS:
            self.histograms[str(epoch)] = _histogram(delta)
        if step == 0 and epoch == 1:
            s = log_s.exp()
            self.s_first = {"mean": _finite(float(s.mean())), "batch_sum": _finite(float(s.sum()))}

    def as_dict(self) -> dict[str, Any]:
        rms = {
            name: [_finite(math.sqrt(float(s[name]) / self._steps[epoch])) for epoch, s in self._squares.items()]
            for name in self.layers
        }
        log_s = [_finite(float(total) / self._steps[epoch]) for epoch, total in self._log_s.items()]
        return {"rms": rms, "log_s": log_s, "s_first": self.s_first, "histograms": self.histograms}


def _histogram(delta: Tensor) -> dict[str, list[float]]:
    values = delta.detach().float().cpu()
    if not bool(torch.isfinite(values).all()):
        return {"edges": [0.0, 0.0], "counts": [0.0]}
    counts, edges = torch.histogram(values, BINS)
    return {"edges": edges.tolist(), "counts": counts.tolist()}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None

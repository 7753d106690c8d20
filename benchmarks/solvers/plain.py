"""Thesis chapter 7 as one writes it in PyTorch: what PlatonicMLP is raced against."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def ones(z: Tensor) -> Tensor:
    return torch.cat([z.new_ones(len(z), 1), z], dim=1)


def solve(gram: Tensor, right: Tensor, l2: float) -> Tensor:
    return torch.linalg.solve(gram + l2 * torch.eye(len(gram), device=gram.device), right)


def deterministic(x: Tensor, y: Tensor, widths: tuple[int, ...], l2: float, beta: float, ema: float) -> list[Tensor]:
    """Section 7.9.3: Sorted PCA (Fig. 7.14), then re-weighted Platonic PCA; float32, as there.

    Principal components by eigh of the products, far cheaper than a singular value decomposition.
    """
    centred = x - x.mean(0)
    order = torch.argsort(x @ torch.linalg.eigh(centred.T @ centred)[1][:, -1])
    picked = torch.arange(0, len(x) - 1, len(x) / widths[0]).round().long()
    weights = [x[order[picked]].T]
    z = ones(torch.relu(x @ weights[0]))
    d = torch.ones(len(x), 1)
    for width in widths[1:]:
        gram = z.T @ z
        d = ema * d + (1 - ema) * (y - z @ solve(gram, z.T @ y, l2)).square().sum(1, keepdim=True)
        a = torch.cat([z, beta * d * y], dim=1)
        p = torch.linalg.eigh(a.T @ a)[1][:, -width:]
        weights.append(solve(gram, z.T @ (a @ p), l2))
        z = ones(torch.relu(z @ weights[-1]))
    weights.append(solve(z.T @ z, z.T @ y, l2))
    return weights


def products(x: Tensor, y: Tensor, weights: list[Tensor]) -> None:
    """The matrix products alone that the fit takes: of the samples, and through and of each layer's output."""
    z = x
    for w in weights[:-1]:
        torch.mm(z.T, z)
        z = torch.mm(z, w[-z.shape[1] :])
    torch.mm(z.T, z)


def loop(x: Tensor, y: Tensor, widths: tuple[int, ...], activation: Callable[[Tensor], Tensor], alpha: float,
         beta: float) -> Tensor:  # fmt: skip
    """Fig. 7.3 with torch.linalg.lstsq (section 7.6.2)."""
    z = ones(x)
    for width in widths:
        a = torch.cat([z, beta * y], dim=1)
        t = alpha * a @ torch.randn(a.shape[1], width)
        z = ones(activation(z @ torch.linalg.lstsq(z, t).solution))
    return torch.linalg.lstsq(z, y).solution


def tries(x: Tensor, y: Tensor, width: int, n: int, activation: Callable[[Tensor], Tensor], beta: float) -> Tensor:
    """One layer, the best of n projections, the pseudo-inverse computed once (section 7.5.1)."""
    z = ones(x)
    inverse = torch.linalg.pinv(z)
    best, kept = float("inf"), z
    for _ in range(n):
        a = torch.cat([z, beta * y], dim=1)
        w = inverse @ (a @ torch.randn(a.shape[1], width))
        new = ones(activation(z @ w))
        distance = float((y - new @ torch.linalg.lstsq(new, y).solution).square().sum())
        if distance < best:
            best, kept = distance, w
    return kept

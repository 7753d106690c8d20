"""Closed-form weights as the start of training by gradients (thesis section 7.10.3, future work 9)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from effdl_fast import ops
from effdl_fast.ops._arguments import integer, number
from effdl_fast.solvers import _projection as projections
from effdl_fast.solvers._activation import resolve
from effdl_fast.solvers._checks import at_least, one_of
from effdl_fast.solvers._inputs import pairs
from effdl_fast.solvers._layer_fit import Solver
from effdl_fast.solvers._layers import Layers, row_blocks
from effdl_fast.solvers._least_squares import Target
from effdl_fast.solvers._representation import ROWS, Group, Representation

OP = "init_platonic_"
BETA = {"random": 10.0, "pca": 1e7}


def init_platonic_(
    module: nn.Module,
    loader: Any,
    *,
    projection: str = "random",
    alpha: float = 1.0,
    beta: float | None = None,
    l2: float = 1e-3,
    mixing: float = 3.0,
    gain: float | None = 1.0,
    seed: int | None = None,
    group: Any = None,
) -> nn.Module:
    """Sets the weights of a module's Linear layers in closed form, in the order in which they are used.

    Each hidden one gets W = Z^+ T of its own inputs Z on the loader's samples, as PlatonicMLP does it, the last one
    Z^+ Y. Whatever lies before and between them (activations, normalisation, dropout, convolutions) stays and is used
    as it is in evaluation mode.

    Args:
        module: its forward takes the loader's X and ends in a Linear layer with a column for each class or value.
            Every Linear layer has a bias, is used once, takes one vector for each sample, and has parameters of its
            own (not tied, not parametrized). They are changed in place, on their device and in their dtype.
        loader: gives batches (X, y), y class indices from 0 (integers, (m,) or (m, 1)) or values (m,) or (m, c), and
            can be gone through once for every layer. Arrays become tensors, floating and uint8 X take the dtype of the
            module; empty batches are left out.
        projection, alpha, beta, mixing, group: as of PlatonicMLP.
        l2: a number; it is not chosen here ("gcv", "loo").
        seed: None draws one from torch's generator.
        gain: hidden weights are scaled so that the layer's outputs have this root mean square over the samples, as
            training by gradients wants it; None leaves them as they come.

    Returns:
        module, in the mode (train or eval) it was in.

    Raises:
        ValueError: no Linear layer is used, or one that does not fit the above (names it); y that does not fit; NaN or
            infinity.
    """
    one_of(OP, "projection", projection, tuple(BETA))
    beta = number(OP, "beta", BETA[projection] if beta is None else beta)
    alpha, l2 = number(OP, "alpha", alpha), at_least(OP, "l2", l2, 0.0)
    mixing = at_least(OP, "mixing", mixing, 0.0)
    gain = None if gain is None else number(OP, "gain", gain)
    ranks = Group(group)
    drawn = int(torch.randint(1 << 62, ())) if seed is None else integer(OP, "seed", seed, 0, (1 << 63) - 1)
    generator = torch.Generator().manual_seed(ranks.gather_objects(drawn)[0])
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        names = _order(module, loader)
        solver, c = Solver("ridge", l2, None), _linear(module, names[-1]).out_features
        for name in names:
            linear = _linear(module, name)
            z, where = _Inputs(module, linear, loader, c, ranks), f"{OP}: {_called(name)}"
            moments = z.moments()
            if not bool(torch.isfinite(moments).all()):
                _blame(loader, module)
            if name == names[-1]:
                _set(linear, solver.solve(z, c, where).solution)
                break
            if projection == "random":
                p = projections.random(len(moments), linear.out_features, 1, generator, moments.device)
            elif mixing > 0:
                p = projections.mixed_pca(moments, c, beta, linear.out_features, mixing, generator)
            else:
                p = projections.platonic_pca(moments, c, beta, linear.out_features)
            weights = solver.solve(z, c, where, Target(p, alpha, beta)).weights
            if weights is None or weights.shape[1] != linear.out_features:
                raise ValueError(f"{where}: Platonic PCA gives {len(moments)} units at most; give mixing > 0 for more")
            _set(linear, weights if gain is None else _scaled(weights, moments, gain))
    finally:
        for part, mode in modes.items():
            part.training = mode
    return module


def _linear(module: nn.Module, name: str) -> nn.Linear:
    found = module.get_submodule(name)
    if not isinstance(found, nn.Linear):
        raise TypeError(f"{OP}: {name} is no Linear layer")
    return found


def _order(module: nn.Module, loader: Any) -> list[str]:
    """Names of the Linear layers in the order in which a batch goes through them."""
    used: list[str] = []
    hooks = []

    def note(name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs[0].dim() != 2:
                raise ValueError(f"{OP}: {_called(name)} takes inputs of shape {tuple(inputs[0].shape)}; one vector "
                                 "for each sample is needed")  # fmt: skip
            used.append(name)

        return hook

    for name, part in module.named_modules():
        if isinstance(part, nn.Linear):
            if part.bias is None:
                raise ValueError(f"{OP}: {_called(name)} has no bias")
            hooks.append(part.register_forward_pre_hook(note(name)))
    try:
        with torch.no_grad():
            first = next((x for x, _ in _batches(loader, module)), None)
            if first is None:
                raise ValueError(f"{OP}: the loader gave no samples")
            module(first)
    finally:
        for hook in hooks:
            hook.remove()
    twice = sorted({name for name in used if used.count(name) > 1})
    if twice or not used:
        raise ValueError(
            f"{OP}: {_called(twice[0])} is used several times" if twice else f"{OP}: no Linear layer was used"
        )
    for name in used:
        _check_own(module, name)
    _check_last(module, used[-1], first)
    return used


def _called(name: str) -> str:
    return f"layer {name}" if name else "the module"


def _check_own(module: nn.Module, name: str) -> None:
    """ValueError where the parameters of a layer are computed from others, or are others' too."""
    linear = _linear(module, name)
    if {key for key, _ in linear.named_parameters()} != {"weight", "bias"}:
        raise ValueError(f"{OP}: the parameters of {_called(name)} are computed from others (weight_norm or another "
                         "parametrization); remove that first")  # fmt: skip
    own = {p.data_ptr() for p in linear.parameters()}
    for other, part in module.named_modules():
        if part is not linear and any(p.data_ptr() in own for p in part.parameters(recurse=False)):
            raise ValueError(f"{OP}: {_called(name)} shares a parameter with {_called(other)}")


def _check_last(module: nn.Module, name: str, x: Any) -> None:
    """ValueError where the module does not give what its last Linear layer gives."""
    probe: list[Tensor] = []

    def hook(_: nn.Module, __: Any, out: Tensor) -> Tensor:
        probe.append(-1.5 - torch.arange(out.numel(), device=out.device).remainder(7).view_as(out).to(out.dtype))
        return probe[-1].clone()

    handle = _linear(module, name).register_forward_hook(hook)
    try:
        with torch.no_grad():
            out = module(x)
    finally:
        handle.remove()
    if not isinstance(out, Tensor) or out.shape != probe[-1].shape or not torch.equal(out, probe[-1]):
        raise ValueError(f"{OP}: the module must end in a Linear layer, but goes on after {_called(name)}")


def _batches(loader: Any, module: nn.Module) -> Iterator[tuple[Any, Any]]:
    """(X, y) that are not empty; X where the module is."""
    parameter = next(module.parameters(), None)
    for x, y in pairs(loader):
        x = torch.as_tensor(x) if isinstance(x, np.ndarray) else x
        if isinstance(x, Tensor) and len(x) == 0:
            continue
        if isinstance(x, Tensor) and parameter is not None:
            floating = x.is_floating_point() or x.dtype is torch.uint8
            x = x.to(parameter.device, parameter.dtype if floating else x.dtype)
        yield x, y


def _blame(loader: Any, module: nn.Module) -> None:
    """ValueError that names the first sample with NaN or infinity, if there is one."""
    for i, (x, y) in enumerate(_batches(loader, module)):
        for name, values in (("X", x), ("y", y if isinstance(y, Tensor) else torch.as_tensor(y))):
            if isinstance(values, Tensor) and values.is_floating_point():
                bad = torch.isfinite(values.reshape(len(values), -1)).all(1).logical_not().nonzero()
                if len(bad):
                    raise ValueError(f"{OP}: {name} contains NaN or infinity, in row {int(bad[0])} of batch {i}")


class _Stop(Exception):
    """The input of the layer is known; the rest of the module need not run."""


class _Inputs(Representation):
    """What a Linear layer inside of a module is given."""

    def __init__(self, module: nn.Module, linear: nn.Linear, loader: Any, columns: int, group: Group) -> None:
        dtype = torch.float64 if linear.weight.dtype is torch.float64 else torch.float32
        super().__init__(Layers(resolve("identity")), group, dtype, columns, None)
        self.module, self.linear, self.loader = module, linear, loader

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        taken: list[Tensor] = []

        def take(_: nn.Module, inputs: tuple[Any, ...]) -> None:
            taken.append(inputs[0])
            raise _Stop

        hook = self.linear.register_forward_pre_hook(take)
        try:
            for x, y in _batches(self.loader, self.module):
                with torch.no_grad(), contextlib.suppress(_Stop):
                    self.module(x)
                z = taken.pop().detach().to(self.dtype)
                target = self._target(y, z)
                for rows in row_blocks(len(z), max(ROWS, 2 * z.shape[1])):
                    yield z[rows], target[rows]
        finally:
            hook.remove()

    def _target(self, y: Any, z: Tensor) -> Tensor:
        y = torch.as_tensor(y).to(z.device)
        if not y.is_floating_point() and y.shape == (len(z), 1) and self.targets > 1:
            y = y[:, 0]
        if not y.is_floating_point() and y.dim() == 1:
            if int(y.min()) < 0 or int(y.max()) >= self.targets:
                raise ValueError(f"{OP}: y must hold class indices from 0 to {self.targets - 1}, one for each output "
                                 f"of the module, got {int(y.min())} to {int(y.max())}")  # fmt: skip
            y = nn.functional.one_hot(y.long(), self.targets)
        y = y[:, None] if y.dim() == 1 else y
        if y.shape != (len(z), self.targets):
            raise ValueError(f"{OP}: y must have shape {(len(z), self.targets)}, got {tuple(y.shape)}")
        return y.to(z.dtype)

    def own_moments(self, precise: bool) -> Tensor:
        total: Tensor | None = None
        for z, y in self.parts():
            part = ops.mlp_moments(z, [], y, precise=precise)
            total = part if total is None else total.add_(part)
        if total is None:
            raise ValueError(f"{OP}: the loader gave no samples")
        return total


def _scaled(weights: Tensor, moments: Tensor, gain: float) -> Tensor:
    n = len(weights)
    square = (weights * (moments[:n, :n] @ weights)).sum() / (moments[0, 0] * weights.shape[1])
    return weights * (gain / square.sqrt()) if bool(square > 0) else weights


def _set(linear: nn.Linear, weights: Tensor) -> None:
    with torch.no_grad():
        linear.bias.copy_(weights[0])
        linear.weight.copy_(weights[1:].mT)

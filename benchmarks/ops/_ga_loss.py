"""Races of the separable losses: a small classifier, a large vocabulary, segmentation."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from effdl_fast import ops
from effdl_fast.testing.cases import Call, load, minimal_bytes

from ..harness import OURS, Contestant, Race, Target

CE, REF, COMPILED, COPY = (
    "eager F.cross_entropy",
    "eager reference",
    "torch.compile of the reference",
    "copy of the logits",
)
Loss = Callable[..., Tensor]


def races(op: str, device: torch.device, quick: bool, more: dict[str, Loss] | None = None) -> Iterator[Race]:
    """`more`: further peers by name, called as loss(logits, target)."""
    ours, ref = getattr(ops, op), getattr(ops, f"{op}_ref")
    compiled, why = _compiled(ref, quick)
    peers = {CE: F.cross_entropy, REF: ref, **(more or {})}
    with_compiled = {**peers, COMPILED: compiled} if compiled else peers
    skipped = [why] if why else []
    calls = {case.name: case for case in load(op) if case.bench}

    call = calls["128x10"].call(device)
    yield _race(op, "128x10 float32 forward", call, ours, peers, _forward, device, skipped,
                [Target(CE, 3.0), Target(REF, 3.0)], bytes_=call.args[0].nbytes)  # fmt: skip
    yield _race(op, "128x10 float32 forward+backward", call, ours, with_compiled, _step, device, skipped,
                [Target(CE, 1.7), Target(REF, 2.0)])  # fmt: skip
    if quick and op != "exp_ga_loss":
        return  # the large cases take the same path in all three losses
    if quick:  # the eager reference of the large cases takes longer than all the rest
        with_compiled = {CE: F.cross_entropy}
    call = calls["1024x32000"].call(device)
    yield _race(op, "1024x32000 float32 forward+backward", call, ours, with_compiled, _step, device, skipped,
                [Target(CE, 2.3), Target(COMPILED, 1.5)])  # fmt: skip
    yield _race(op, "1024x32000 float32 forward+backward inplace", call, ours, {CE: F.cross_entropy}, _step, device, [],
                [Target(CE, 10.0), Target(COPY, 1 / 1.3)], inplace=True)  # fmt: skip
    call = calls["8x21x224x224"].call(device)
    yield _race(op, "8x21x224x224 float32 forward+backward", call, ours, with_compiled, _step, device, skipped,
                [Target(CE, 3.0)])  # fmt: skip


def _compiled(ref: Loss, quick: bool) -> tuple[Loss | None, str | None]:
    """torch.compile of the reference, or why there is none."""
    if quick:
        return None, f"{COMPILED}: not in quick mode"
    compiled = torch.compile(ref, dynamic=False)
    try:
        compiled(torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64))
    except Exception as error:  # no C++ compiler, no Triton: many types, all reported
        return None, f"{COMPILED}: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    return compiled, None


def _forward(loss: Loss, x: Tensor, target: Tensor) -> Callable[[], Any]:
    x = x.detach()
    return lambda: loss(x, target)


def _step(loss: Loss, x: Tensor, target: Tensor) -> Callable[[], Any]:
    def run() -> None:
        x.grad = None
        loss(x, target).backward()

    return run


class _Layer(torch.autograd.Function):
    """Stands for the layer that made the logits: they are no leaf, and it needs nothing of their values later."""

    @staticmethod
    def forward(ctx: Any, parameter: Tensor, logits: Tensor) -> Tensor:
        return logits.detach()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None]:
        return None, None


def _race(op: str, name: str, call: Call, ours: Loss, peers: dict[str, Loss], shape: Callable[..., Callable[[], Any]],
          device: torch.device, skipped: list[str], targets: list[Target], *, inplace: bool = False,
          bytes_: int | None = None) -> Race:  # fmt: skip
    (x, target), _, _ = call.with_grad()
    contestants = [_inplace(ours, x.detach(), target) if inplace else Contestant(OURS, shape(ours, x, target))]
    contestants += [Contestant(what, shape(loss, x, target)) for what, loss in peers.items()]
    source, destination = x.detach(), torch.empty_like(x)
    contestants.append(Contestant(COPY, lambda: destination.copy_(source)))

    def check() -> None:
        reference = getattr(ops, f"{op}_ref")
        results = []
        for loss in (ours, reference):
            leaf = x.detach().clone().requires_grad_()
            value = loss(leaf * 1 if inplace else leaf, target, inplace=inplace)
            value.backward()
            results.append((value.detach(), leaf.grad))
        torch.testing.assert_close(results[0], results[1], rtol=1e-4, atol=1e-7)

    return Race(op, name, contestants, minimal_bytes(call) if bytes_ is None else bytes_, check,
                floor=COPY, targets=targets, device=device, skipped=skipped)  # fmt: skip


def _inplace(ours: Loss, x: Tensor, target: Tensor) -> Contestant:
    buffer, parameter = x.clone(), torch.zeros(1, requires_grad=True)

    def run() -> None:
        ours(_Layer.apply(parameter, buffer), target, inplace=True).backward()

    return Contestant(OURS, run, setup=lambda: buffer.copy_(x))

"""linear_exp_ga_loss against F.linear and cross-entropy, eager and compiled; the floor is the three matrix products.

`python -m benchmarks.ops.bench_linear_exp_ga_loss` prints the peak extra memory of the largest case (CPU, Linux).
"""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from effdl_fast import ops
from effdl_fast.testing import peak_memory
from effdl_fast.testing.cases import Call, load
from effdl_fast.testing.peak_memory import linear_cross_entropy

from ..harness import OURS, Contestant, Race, Target

OP = "linear_exp_ga_loss"
CE, REF = peak_memory.EAGER_CE, peak_memory.REFERENCE
COMPILED, FLOOR = "torch.compile of linear + CE", "three matrix products"
LARGEST = "4096x512_32000"  # the case whose peak memory is measured, in float32
Loss = Callable[..., Tensor]


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    peers: dict[str, Loss] = {CE: linear_cross_entropy, REF: ops.linear_exp_ga_loss_ref}
    skipped = [f"{COMPILED}: not in quick mode"] if quick else []
    if not quick:
        peers[COMPILED] = torch.compile(linear_cross_entropy, dynamic=False)
        try:
            peers[COMPILED](torch.zeros(2, 2), torch.zeros(2, 2), torch.zeros(2, dtype=torch.int64))
        except Exception as error:  # no C++ compiler, no Triton: many types, all reported
            skipped = [f"{COMPILED}: {type(error).__name__}: {str(error).splitlines()[0][:120]}"]
            del peers[COMPILED]
    for case in load(OP):
        if case.bench and (not quick or case.name == "128x512_1000"):
            for dtype in case.dtypes:
                peaks = case.name == LARGEST and dtype is torch.float32
                yield _race(f"{case.name} {str(dtype)[6:]} forward+backward", case.call(device, dtype), peers, device,
                            skipped, peaks and device.type == "cpu" and peak_memory.AVAILABLE)  # fmt: skip


def _step(loss: Loss, call: Call) -> Callable[[], Any]:
    def run() -> None:
        for leaf in call.leaves():
            leaf.grad = None
        loss(*call.args).backward()

    return run


def _default_chunk_bytes() -> int:
    default: int = inspect.signature(ops.linear_exp_ga_loss).parameters["chunk_bytes"].default
    return default


def _products(call: Call) -> Callable[[], Any]:
    """What no head can avoid: logits, and the gradients of input and weight, in tiles of the size ours uses."""
    x, weight = (call.args[i].detach() for i in (0, 1))
    classes = max(1, _default_chunk_bytes() // x.element_size() // x.shape[0])
    d_input, d_weight = torch.zeros_like(x), torch.empty_like(weight)

    def run() -> None:
        for c in range(0, weight.shape[0], classes):
            tile = torch.mm(x, weight[c : c + classes].t())
            torch.addmm(d_input, tile, weight[c : c + classes], out=d_input)
            torch.mm(tile.t(), x, out=d_weight[c : c + classes])
        d_input.zero_()

    return run


def _race(name: str, call: Call, peers: dict[str, Loss], device: torch.device, skipped: list[str],
          peaks: bool) -> Race:  # fmt: skip
    call = call.with_grad()

    def check() -> None:
        results = []
        for loss in (ops.linear_exp_ga_loss, ops.linear_exp_ga_loss_ref):
            value = loss(*call.args)
            results.append([value, *torch.autograd.grad(value, call.leaves())])
        tolerance = 64 * torch.finfo(call.args[0].dtype).eps
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * float(b.detach().abs().max()))

    contestants = [Contestant(OURS, _step(ops.linear_exp_ga_loss, call))]
    contestants += [Contestant(what, _step(loss, call)) for what, loss in peers.items()]
    targets = [Target(CE, 1.0)]
    if peaks:
        sizes = (*call.args[0].shape, call.args[1].shape[0])
        for contestant in contestants:
            if contestant.what in peak_memory.KINDS:
                contestant.peak_bytes = partial(peak_memory.head_peak_bytes, contestant.what, *sizes)
        targets.append(Target(CE, 10.0, of="memory"))
    contestants.append(Contestant(FLOOR, _products(call)))
    x, weight = call.args[0], call.args[1]
    return Race(OP, name, contestants, 2 * (x.nbytes + weight.nbytes), check, floor=FLOOR, targets=targets,
                device=device, skipped=skipped)  # fmt: skip


if __name__ == "__main__":
    for kind in peak_memory.KINDS:
        print(f"{kind:<24}{peak_memory.head_peak_bytes(kind) / 1e6:>10.0f} MB")

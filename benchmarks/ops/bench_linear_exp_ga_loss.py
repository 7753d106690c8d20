"""linear_exp_ga_loss against F.linear and cross-entropy, eager and compiled; the floor is the three matrix products.

`python -m benchmarks.ops.bench_linear_exp_ga_loss` prints the peak extra memory of the largest case (CPU, Linux).
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from effdl_fast import ops
from effdl_fast.testing.cases import Call, load

from ..harness import OURS, Contestant, Race, Target

OP = "linear_exp_ga_loss"
CE, COMPILED, REF, FLOOR = (
    "eager linear + CE",
    "torch.compile of linear + CE",
    "eager reference",
    "three matrix products",
)
Loss = Callable[..., Tensor]


def linear_cross_entropy(x: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.cross_entropy(F.linear(x, weight, bias), target)


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
                yield _race(f"{case.name} {str(dtype)[6:]} forward+backward", case.call(device, dtype), peers, device,
                            skipped)  # fmt: skip


def _step(loss: Loss, call: Call) -> Callable[[], Any]:
    def run() -> None:
        for leaf in call.leaves():
            leaf.grad = None
        loss(*call.args).backward()

    return run


def _products(call: Call) -> Callable[[], Any]:
    """What no head can avoid: logits, and the gradients of input and weight, in tiles of the size ours uses."""
    x, weight = (call.args[i].detach() for i in (0, 1))
    classes = max(1, ops.linear_exp_ga_loss.__kwdefaults__["chunk_bytes"] // x.element_size() // x.shape[0])
    d_input, d_weight = torch.zeros_like(x), torch.empty_like(weight)

    def run() -> None:
        for c in range(0, weight.shape[0], classes):
            tile = torch.mm(x, weight[c : c + classes].t())
            torch.addmm(d_input, tile, weight[c : c + classes], out=d_input)
            torch.mm(tile.t(), x, out=d_weight[c : c + classes])
        d_input.zero_()

    return run


def _race(name: str, call: Call, peers: dict[str, Loss], device: torch.device, skipped: list[str]) -> Race:
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
    contestants.append(Contestant(FLOOR, _products(call)))
    x, weight = call.args[0], call.args[1]
    return Race(OP, name, contestants, 2 * (x.nbytes + weight.nbytes), check, floor=FLOOR, targets=[Target(CE, 1.0)],
                device=device, skipped=skipped)  # fmt: skip


# ---- peak memory ----


def peak_bytes(what: str, rows: int = 4096, features: int = 512, classes: int = 32000) -> int:
    """Memory that one forward and backward of `what` adds at its peak, gradients included, in a process of its own."""
    done = subprocess.run([sys.executable, "-m", __spec__.name, what, str(rows), str(features), str(classes)],
                          capture_output=True, text=True, check=True)  # fmt: skip
    return int(done.stdout)


def _peak_here(what: str, rows: int, features: int, classes: int) -> int:
    losses: dict[str, Loss] = {OURS: ops.linear_exp_ga_loss, CE: linear_cross_entropy, REF: ops.linear_exp_ga_loss_ref}
    x = torch.randn(rows, features, requires_grad=True)
    weight = torch.randn(classes, features).mul_(features**-0.5).requires_grad_()
    target = torch.randint(classes, (rows,))
    losses[what](x[:64], weight, target[:64]).backward()  # libraries allocate on their first call
    x.grad = weight.grad = None
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = _high_water()
    losses[what](x, weight, target).backward()
    return _high_water() - before


def _high_water() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(_peak_here(sys.argv[1], *map(int, sys.argv[2:])))
    else:
        for name in (OURS, CE, REF):
            print(f"{name:<24}{peak_bytes(name) / 1e6:>10.0f} MB")

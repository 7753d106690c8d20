"""One of two processes at the ends of a link: times every exchange and counts its bytes.

Usage: worker.py RANK ADDRESS_OF_RANK_0 WORKLOAD RESULT SECONDS [EXCHANGE ...]
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from torch.nn.parallel import DistributedDataParallel

sys.path.insert(0, str(Path(__file__).resolve().parent))
import links  # this file is run by its path

from effdl_fast import compress

PORT = 29500
WARM_UPS = 4  # PowerSGD begins with its third step, DDP has its final buckets from the second on
LEAST, MOST = 3, 60  # rounds


class Exchange(NamedTuple):
    """run exchanges once, after reset, which is not timed; result is the average that came out."""

    reset: Callable[[], Any]
    run: Callable[[], Any]
    result: Callable[[], list[Tensor]]


# ---- parameters ----


def all_reduce(given: list[Tensor], dtype: torch.dtype) -> Exchange:
    flat = torch.cat([x.view(-1) for x in given])
    work = flat.clone()

    def run() -> None:
        sent = work.to(dtype)
        dist.all_reduce(sent)
        work.copy_(sent).div_(2)

    return Exchange(lambda: work.copy_(flat), run, lambda: [work])


def ours(given: list[Tensor], reference: list[Tensor] | None, floor: float) -> Exchange:
    work = [x.clone() for x in given]
    deltas: list[Any] = [None]

    def reset() -> None:
        if reference is not None:
            deltas[0] = compress.Deltas(reference)
        for w, x in zip(work, given, strict=True):
            w.copy_(x)

    def run() -> None:
        compress.average_parameters(work, floor=floor, deltas=deltas[0])

    return Exchange(reset, run, lambda: work)


# ---- gradients ----


class Constant(torch.nn.Module):
    """A module whose gradients are the given tensors, at the cost of one multiplication each."""

    def __init__(self, gradients: list[Tensor]) -> None:
        super().__init__()
        self.ps = torch.nn.ParameterList(torch.zeros_like(g) for g in gradients)
        self.gradients = gradients

    def forward(self) -> Tensor:
        return torch.stack([(p * g).sum() for p, g in zip(self.ps, self.gradients, strict=True)]).sum()


def ddp(given: list[Tensor], register: Callable[[DistributedDataParallel], Any] = lambda model: None) -> Exchange:
    model = DistributedDataParallel(Constant(given))
    register(model)
    loss: list[Tensor] = [torch.empty(0)]

    def reset() -> None:
        model.zero_grad()
        loss[0] = model()

    def gradients() -> list[Tensor]:
        return [p.grad for p in model.parameters() if p.grad is not None]

    return Exchange(reset, lambda: loss[0].backward(), gradients)


def power_sgd(rank: int) -> Callable[[DistributedDataParallel], Any]:
    def register(model: DistributedDataParallel) -> None:
        state = powerSGD_hook.PowerSGDState(None, matrix_approximation_rank=rank, start_powerSGD_iter=2)
        model.register_comm_hook(state, powerSGD_hook.powerSGD_hook)

    return register


def our_hook(floor: float) -> Callable[[DistributedDataParallel], Any]:
    return lambda model: model.register_comm_hook(compress.CompressState(floor=floor), compress.ddp_comm_hook)


def exchanges(load: dict[str, Any], rank: int) -> dict[str, tuple[list[list[Tensor]], Callable[[], Exchange]]]:
    """By name: what each rank holds, and how the exchange is made."""
    weights = load["weights"]
    found: dict[str, tuple[list[list[Tensor]], Callable[[], Exchange]]] = {
        "float32 all-reduce": (weights, lambda: all_reduce(weights[rank], torch.float32)),
        "float16 all-reduce": (weights, lambda: all_reduce(weights[rank], torch.float16)),
        "ours, weights, c=6": (weights, lambda: ours(weights[rank], None, 6)),
        "ours, weights, c=5": (weights, lambda: ours(weights[rank], None, 5)),
    }
    if load["reference"] is not None:
        for c in (6, 4):
            found[f"ours, differences, c={c}"] = (
                weights,
                lambda c=c: ours(weights[rank], load["reference"][rank], c),
            )
    if (g := load["gradients"]) is not None:
        found |= {
            "DDP, float32": (g, lambda: ddp(g[rank])),
            "DDP, float16 hook": (g, lambda: ddp(g[rank], _float16)),
            "DDP, PowerSGD rank 1": (g, lambda: ddp(g[rank], power_sgd(1))),
            "DDP, PowerSGD rank 4": (g, lambda: ddp(g[rank], power_sgd(4))),
            "DDP, ours, c=6": (g, lambda: ddp(g[rank], our_hook(6))),
            "DDP, ours, c=4": (g, lambda: ddp(g[rank], our_hook(4))),
        }
    return found


def _float16(model: DistributedDataParallel) -> None:
    model.register_comm_hook(None, default_hooks.fp16_compress_hook)


# ---- measuring ----


def measure(exchange: Exchange, exact: list[Tensor], seconds: float, barrier_bytes: float) -> dict[str, Any]:
    """Medians over rounds; a round takes as long as the slower of the two ranks."""
    with torch.enable_grad():
        for _ in range(WARM_UPS):
            exchange.reset()
            dist.barrier()
            start = time.perf_counter()
            exchange.run()
            last = time.perf_counter() - start
        error = _error(exchange.result(), exact)
        rounds = torch.tensor(float(min(max(seconds / max(last, 1e-6), LEAST), MOST)))  # rank 0's, for both
        dist.broadcast(rounds, 0)
        times, sent = [], []
        for _ in range(int(rounds)):
            exchange.reset()
            dist.barrier()
            before, start = links.sent_bytes(), time.perf_counter()
            exchange.run()
            times.append(time.perf_counter() - start)
            dist.barrier()
            sent.append(links.sent_bytes() - before - barrier_bytes)
    slower = torch.tensor(times)
    dist.all_reduce(slower, dist.ReduceOp.MAX)
    low, median, high = (float(slower.quantile(q)) for q in (0.1, 0.5, 0.9))
    row = {"seconds": median, "p10": low, "p90": high, "rounds": len(times)}
    return {**row, "sent_bytes": statistics.median(sent), "relative_error": error}


def _error(got: list[Tensor], exact: list[Tensor]) -> float:
    """RMS of the differences to the exact average, relative to its own; with error feedback, of one exchange alone."""
    a, b = (torch.cat([x.detach().view(-1) for x in xs]).double() for xs in (got, exact))
    return float((a - b).norm() / b.norm())


def barrier_bytes() -> float:
    for _ in range(3):
        dist.barrier()
    before = links.sent_bytes()
    for _ in range(20):
        dist.barrier()
    return (links.sent_bytes() - before) / 20


def main(rank: int, address: str, workload: str, result: str, seconds: float, chosen: list[str]) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = links.DEVICE
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://{address}:{PORT}", rank=rank, world_size=2)
    load = torch.load(workload, weights_only=True)
    silence, rows = barrier_bytes(), {}
    for name, (held, make) in exchanges(load, rank).items():
        if chosen and name not in chosen:
            continue
        exact = [(a + b) / 2 for a, b in zip(*held, strict=True)]
        rows[name] = measure(make(), exact, seconds, silence)
        gc.collect()
    if rank == 0:
        Path(result).write_text(json.dumps(rows))
    leave_together(rank, Path(workload).parent)


def leave_together(rank: int, folder: Path) -> None:
    """End both processes when both are done: a connection that is closed earlier may be reset under the other one.

    Without tearing Python down, as DDP holds the process group: see tests/workers/ddp_ga_loss.py.
    """
    (folder / f"done{rank}").touch()
    while not (folder / f"done{1 - rank}").exists():
        time.sleep(0.01)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:5], float(sys.argv[5]), sys.argv[6:])

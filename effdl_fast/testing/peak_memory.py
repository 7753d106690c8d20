"""Peak memory that one forward and backward of a classifier head with its loss adds (Linux, CPU).

Tests and benchmarks measure it here, in one way.

    python -m effdl_fast.testing.peak_memory KIND ROWS FEATURES CLASSES     # prints bytes

The figure is the rise of the process's resident high water, gradients included. Allocators keep what was freed, so
every measurement is a process of its own.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import effdl_fast
from effdl_fast import ops

OURS, EAGER_CE, REFERENCE = "ours", "eager linear + CE", "eager reference"
AVAILABLE = sys.platform == "linux"


def linear_cross_entropy(x: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.cross_entropy(F.linear(x, weight, bias), target)


KINDS: dict[str, Callable[..., Tensor]] = {
    OURS: ops.linear_exp_ga_loss,
    EAGER_CE: linear_cross_entropy,
    REFERENCE: ops.linear_exp_ga_loss_ref,
}


def head_peak_bytes(kind: str, rows: int = 4096, features: int = 512, classes: int = 32000) -> int:
    """Bytes that one float32 forward and backward of KINDS[kind] adds at its peak, in a process of its own."""
    command = [sys.executable, "-m", __name__, kind, str(rows), str(features), str(classes)]
    paths = [str(Path(effdl_fast.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise RuntimeError(f"measuring the peak memory of {kind!r} failed: {done.stderr.strip()[-500:]}")
    return int(done.stdout)


def _measure_here(kind: str, rows: int, features: int, classes: int) -> int:
    x = torch.randn(rows, features, requires_grad=True)
    weight = torch.randn(classes, features).mul_(features**-0.5).requires_grad_()
    target = torch.randint(classes, (rows,))
    loss = KINDS[kind]
    loss(x[:64], weight, target[:64]).backward()  # libraries allocate on their first call
    x.grad = weight.grad = None
    return rise_of(lambda: loss(x, weight, target).backward())


def rise_of(run: Callable[[], object]) -> int:
    """Bytes by which a call raises this process's resident high water; meaningful in a process of its own."""
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    before = _high_water()
    run()
    return _high_water() - before


def _high_water() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) << 10


if __name__ == "__main__":
    print(_measure_here(sys.argv[1], *map(int, sys.argv[2:])))

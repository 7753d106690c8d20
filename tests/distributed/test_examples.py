"""examples/local_sgd.py under torchrun, as a user starts it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed as dist

import effdl_fast as ef

pytest.importorskip("sklearn")
EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "local_sgd.py"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo"),
    pytest.mark.skipif(not EXAMPLE.is_file(), reason="there are no examples beside these tests"),
]


@pytest.mark.parametrize("exchange", ["weights", "differences", "plain"])
def test_local_sgd(exchange: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(EXAMPLE)]
    environment = {"PYTHONPATH": str(Path(ef.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--exchange", exchange, "--epochs", "4"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    *epochs, total = done.stdout.strip().splitlines()
    assert len(epochs) == 4
    assert float(re.search(r"test accuracy (0\.\d+)", epochs[-1])[1]) > 0.85
    ratio = float(total.rsplit(" ", 1)[1])
    assert ratio == 1 if exchange == "plain" else ratio > 2.5, done.stdout

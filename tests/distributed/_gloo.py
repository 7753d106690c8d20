"""Bodies of tests in several gloo processes."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from effdl_fast import _C


def _worker(rank: int, body: Callable, ranks: int, store: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
    body(rank, ranks)
    # Leave together, as a connection that is closed earlier may be reset under another rank, and without tearing the
    # interpreter down, which aborts now and then in gloo's threads (tests/workers).
    Path(f"{store}.done{rank}").touch()
    while not all(Path(f"{store}.done{r}").exists() for r in range(ranks)):
        time.sleep(0.01)
    sys.stdout.flush()
    os._exit(0)


def run(body: Callable, ranks: int, folder: Path) -> None:
    """body(rank, ranks) in each of `ranks` processes; an exception in any of them fails the test."""
    mp.spawn(_worker, (body, ranks, str(folder / "store")), nprocs=ranks)


def assert_equal_everywhere(*tensors: torch.Tensor) -> None:
    """The tensors have the same bits on all ranks."""
    crc = 0
    for x in tensors:
        crc = _C.crc32c(x.detach().contiguous().view(-1).view(torch.uint8), crc)
    found = [None] * dist.get_world_size()
    dist.all_gather_object(found, crc)
    assert len(set(found)) == 1, f"the ranks' tensors differ: {found}"

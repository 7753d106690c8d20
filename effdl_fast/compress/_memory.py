"""Bytes of tensors as buffers and back. Without numpy, which a machine that only has torch may lack."""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor

_SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}


def integers(x: Tensor) -> Tensor:
    """A view of any strided tensor as numbers of its size; some dtypes cannot be copied as themselves."""
    return x.detach().resolve_conj().resolve_neg().view(_SAME_SIZE[x.dtype.itemsize])


def bytes_of(x: Tensor) -> memoryview:
    """The memory of a contiguous tensor on the CPU, writable; it keeps the tensor alive."""
    array: Any = (ctypes.c_ubyte * x.nbytes).from_address(x.data_ptr() if x.nbytes else 0)
    array.tensor = x
    return memoryview(array).cast("B")


def copy_of(data: memoryview) -> Tensor:
    """uint8 (n,) on the CPU."""
    out = torch.empty(len(data), dtype=torch.uint8, device="cpu")
    bytes_of(out)[:] = data
    return out


def as_buffer(data: Any, caller: str) -> memoryview:
    """The bytes of a bytes-like object or of a uint8 tensor on the CPU."""
    if isinstance(data, Tensor):
        if data.dtype is not torch.uint8 or data.device.type != "cpu":
            given = f"{data.dtype} on {data.device}"
            raise TypeError(f"{caller}: data must be bytes or a uint8 tensor on the CPU, got {given}")
        return bytes_of(data.detach().contiguous())
    try:
        return memoryview(data).cast("B")
    except TypeError as error:
        raise TypeError(f"{caller}: data must be contiguous bytes, got {type(data).__name__}") from error

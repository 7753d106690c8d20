"""Checks of arguments that ops share, and registration with torch's dispatcher."""

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from effdl_fast.ops._dispatch import DISPATCHER, KERNEL, LIB

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def dense(op: str, name: str, x: Tensor) -> None:
    if x.layout is not torch.strided:
        raise TypeError(f"{op}: {name} must be a dense tensor, got layout {x.layout}")


def floating(op: str, name: str, x: Tensor) -> None:
    """Dense, and of a dtype that weights have."""
    dense(op, name, x)
    if x.dtype not in FLOATS:
        raise TypeError(f"{op}: {name} must be float32, float64, float16 or bfloat16, got {dtype_name(x.dtype)}")


def vector(op: str, name: str, x: Tensor, dtype: torch.dtype) -> None:
    """Dense, one dimension and this dtype."""
    dense(op, name, x)
    if x.dtype is not dtype:
        raise TypeError(f"{op}: {name} must be {dtype_name(dtype)}, got {dtype_name(x.dtype)}")
    if x.dim() != 1:
        raise ValueError(f"{op}: {name} must have one dimension, got shape {tuple(x.shape)}")


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


def boolean(op: str, name: str, value: Any) -> bool:
    """True or False, and nothing that merely counts as such."""
    if not isinstance(value, bool):
        raise TypeError(f"{op}: {name} must be True or False, got {type(value).__name__}")
    return value


def number(op: str, name: str, value: Any, *, booleans: bool = True) -> float:
    """A finite number; True and False are 1 and 0, unless they are no numbers here."""
    if isinstance(value, Tensor) or not hasattr(value, "__float__") or (isinstance(value, bool) and not booleans):
        raise TypeError(f"{op}: {name} must be a number, got {'a tensor' if isinstance(value, Tensor) else value!r}")
    if getattr(value, "ndim", 0) != 0:
        raise TypeError(f"{op}: {name} must be a number, got an array of {value.ndim} dimensions")
    try:
        value = float(value)
    except OverflowError:
        raise ValueError(f"{op}: {name} must be a number that float64 holds, got a larger one") from None
    except (TypeError, ValueError):
        raise TypeError(f"{op}: {name} must be a number, got {type(value).__name__}") from None
    if not math.isfinite(value):
        raise ValueError(f"{op}: {name} must be finite, got {value}")
    return value


def dtype_name(dtype: Any) -> str:
    return str(dtype).removeprefix("torch.")


def way_of_all(way: int, *tensors: Tensor | None) -> int:
    """`way` of the main argument, or the dispatcher's where another tensor is of a subclass, as only it knows those."""
    if way == KERNEL and any(t is not None and type(t) not in (Tensor, torch.nn.Parameter) for t in tensors):
        return DISPATCHER
    return way


def register(
    name: str, schema: str, kernel: Callable[..., Any], fake: Callable[..., Any], *, waits: bool = False
) -> None:
    """Defines torch.ops.effdl_fast.<name>; `kernel` is called with plain tensors.

    waits: the host waits for a CUDA device, so a CUDA graph cannot hold the op.
    """
    LIB.define(name + schema, tags=(torch.Tag.cudagraph_unsafe,) if waits else ())

    def plain(*args: Any) -> Any:
        # A plain subclass arrives as itself; one that wraps other tensors has its own dispatch and never comes here.
        return kernel(*([_plain(t) for t in a] if isinstance(a, list | tuple) else _plain(a) for a in args))

    LIB.impl(name, plain, "CPU")
    LIB.impl(name, plain, "CUDA")
    torch.library.register_fake(f"effdl_fast::{name}", fake, lib=LIB)


def _plain(value: Any) -> Any:
    return value.as_subclass(Tensor) if isinstance(value, Tensor) else value

"""Which way a call goes: straight to the compiled module, through torch's dispatcher, or to the reference."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

LIB = torch.library.Library("effdl_fast", "DEF")

KERNEL, DISPATCHER, REFERENCE = range(3)


def route(op: str, name: str, x: Any) -> int:
    """Where a call of `op` belongs, by its main argument.

    KERNEL where `x` is plain memory. DISPATCHER (torch.ops) for tracing, subclasses, and dispatch modes that want to
    see the call. REFERENCE under torch.func transforms (grad, vmap, jvp, ...) and forward-mode differentiation, which
    need every step of the computation.
    """
    # First: a tracer cannot see the functorch stack and takes it for there, which would compile the reference.
    if torch.compiler.is_compiling():
        return DISPATCHER
    if torch._C._functorch.peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
        return REFERENCE
    if type(x) is not Tensor and type(x) is not torch.nn.Parameter:
        if not isinstance(x, Tensor):
            raise TypeError(f"{op}: {name} must be a torch.Tensor, got {type(x).__name__}")
        return DISPATCHER
    if torch._C._len_torch_dispatch_stack() > 0 or torch._C._get_tracing_state() is not None:
        return DISPATCHER
    return KERNEL

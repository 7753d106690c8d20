"""Which way a call goes: straight to the compiled module, through torch's dispatcher, or to the reference."""

import torch
from torch import Tensor

LIB = torch.library.Library("effdl_fast", "DEF")

KERNEL, DISPATCHER, REFERENCE = range(3)


def route(x: Tensor) -> int:
    """Where the call belongs.

    KERNEL where `x` is plain memory. DISPATCHER (torch.ops) for tracing, subclasses, and dispatch modes that want to
    see the call. REFERENCE under torch.func transforms (grad, vmap, jvp, ...): their tensors have no memory of their
    own.
    """
    # First: a tracer cannot see the functorch stack and takes it for there, which would compile the reference.
    if torch.compiler.is_compiling():
        return DISPATCHER
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return REFERENCE
    if (type(x) is not Tensor and type(x) is not torch.nn.Parameter) or torch._C._len_torch_dispatch_stack() > 0:
        return DISPATCHER
    return KERNEL

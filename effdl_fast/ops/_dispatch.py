"""Which way a call goes: straight to the compiled module, or through torch's dispatcher."""

import torch
from torch import Tensor

LIB = torch.library.Library("effdl_fast", "DEF")


def via_dispatcher(x: Tensor) -> bool:
    """Whether `x` must go through torch.ops: tracing, a subclass, or a dispatch mode that wants to see the call."""
    return (
        torch.compiler.is_compiling()
        or (type(x) is not Tensor and type(x) is not torch.nn.Parameter)
        or torch._C._len_torch_dispatch_stack() > 0
    )


def in_functorch() -> bool:
    """Whether a torch.func transform (grad, vmap, jvp, ...) is running: its tensors have no memory of their own."""
    # A tracer cannot see the stack and takes it for there, which would compile the reference instead of the kernel.
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None

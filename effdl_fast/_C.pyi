"""Raw kernels: outputs are given, nothing is allocated, no autograd. `effdl_fast.ops` is the public form."""

from typing import TypedDict

from torch import Tensor
from typing_extensions import Buffer

class BuildInfo(TypedDict):
    version: str
    compiler: str
    cuda: bool
    cuda_version: str | None
    cuda_archs: list[str]
    simd_levels: list[str]
    sanitized: bool

def build_info() -> BuildInfo: ...
def simd_level() -> str: ...
def set_simd_level(name: str) -> None: ...
def last_kernel() -> str: ...
def crc32c(data: Buffer | Tensor, initial: int = 0) -> int: ...
def exp_ga_loss(
    logits: Tensor,
    target: Tensor,
    loss: Tensor,
    grad: Tensor | None,
    norm: Tensor | None,
    workspace: Tensor | None,
    alpha: float | Tensor | None,
    beta: float | None,
    clamp: float | None,
    target_value: float,
    negative_value: float,
    weight: Tensor | None,
    ignore_index: int,
    reduction: int,
    class_start: int,
    class_total: int,
) -> None: ...

pow3_ga_loss = exp_ga_loss
linear_ga_loss = exp_ga_loss

def ga_loss_workspace_bytes(alpha_elements: int) -> int: ...  # CUDA builds only
def ga_loss_cpu_factor(upstream: Tensor, norm: Tensor | None) -> float: ...
def ga_loss_scale(grad: Tensor, upstream: Tensor, norm: Tensor | None, out: Tensor) -> None: ...  # CUDA builds only

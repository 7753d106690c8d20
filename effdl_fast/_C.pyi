"""Raw kernels: outputs are given, nothing is allocated, no autograd. `effdl_fast.ops` is the public form."""

from collections.abc import Sequence
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

# ---- compression of weights: contiguous tensors, outputs given; workspace is None on the CPU ----

def min_max(x: Tensor, range: Tensor, workspace: Tensor | None) -> None: ...
def quantize(x: Tensor, codes: Tensor, range: Tensor, bits: int) -> None: ...
def dequantize(codes: Tensor, out: Tensor, range: Tensor, bits: int) -> None: ...
def histogram(codes: Tensor, counts: Tensor) -> None: ...
def entropy(x: Tensor, out: Tensor, workspace: Tensor | None, bits: int, sample: float, seed: int) -> None: ...
def pack_bits(codes: Tensor, packed: Tensor, bits: int) -> None: ...
def unpack_bits(packed: Tensor, codes: Tensor, bits: int) -> None: ...
def huffman_lengths(counts: Tensor, lengths: Tensor, workspace: Tensor | None, max_length: int) -> None: ...
def huffman_bound(n: int, longest: int) -> int: ...
def huffman_encode(
    codes: Tensor, lengths: Tensor, payload: Tensor, sizes: Tensor, workspace: Tensor | None
) -> int: ...  # bytes written; -1 on CUDA
def huffman_decode(
    payload: Tensor, sizes: Tensor, lengths: Tensor, codes: Tensor, workspace: Tensor | None
) -> None: ...
def compress_weights_bound(n: int, itemsize: int, max_bits: int) -> int: ...
def compress_weights(
    x: Tensor,
    out: Tensor,
    workspace: Tensor | None,
    floor: float,
    entropy_bits: int,
    sample: float,
    seed: int,
    codec: int,
    bits: int,
    keep_nonfinite: bool,
) -> int: ...  # bytes written; -1 on CUDA
def decompress_weights(data: Tensor | Buffer, out: Tensor, workspace: Tensor | None) -> None: ...
def weights_header(data: Tensor | Buffer) -> tuple[int, int, int, int, float, float, int, int]: ...
def redundancy_depth(
    features: Tensor,
    labels: Tensor,
    depth: Tensor,
    metric: str,
    max_workspace: int,
    k: int = 0,
    arithmetic: str = "automatic",
) -> tuple[str, bool]: ...  # the arithmetic used; whether some enemies settled most samples
def knn(
    queries: Tensor,
    keys: Tensor,
    distances: Tensor,
    indices: Tensor,
    metric: str,
    exclude_self: bool,
    max_workspace: int,
    arithmetic: str = "automatic",
) -> str: ...  # the arithmetic used
def survey_points(op: str, features: Tensor, seen: Tensor) -> None: ...  # CUDA tensors
def pack_points(
    features: Tensor,
    order: Tensor | None,
    centre: Tensor,
    frame: tuple[str, float, float, float, float, float],
    words: Tensor,
    base: Tensor,
    slack: Tensor,
) -> None: ...  # CUDA tensors
def redundancy_depth_tile(
    features: Tensor,
    frame: tuple[str, float, float, float, float, float],
    counting: bool,
    products: Tensor,
    first_row: int,
    first_col: int,
    row_base: Tensor,
    row_slack: Tensor,
    col_base: Tensor,
    col_slack: Tensor,
    order: Tensor,
    class_end: Tensor,
    limit: Tensor,
    enemy: Tensor,
    depth: Tensor,
) -> None: ...  # CUDA tensors
def knn_tile(
    queries: Tensor,
    keys: Tensor,
    frame: tuple[str, float, float, float, float, float],
    exclude_self: bool,
    last: bool,
    products: Tensor,
    first_row: int,
    first_col: int,
    row_base: Tensor,
    row_slack: Tensor,
    col_base: Tensor,
    col_slack: Tensor,
    best: Tensor,
    indices: Tensor,
    distances: Tensor,
    workspace: Tensor,
) -> None: ...  # CUDA tensors
def knn_block_bytes(k: int) -> int: ...
def mlp_forward(x: Tensor, weights: Sequence[Tensor], out: Tensor, activation: str) -> None: ...
def mlp_moments(
    x: Tensor, weights: Sequence[Tensor], y: Tensor | None, moments: Tensor, activation: str, precise: bool
) -> None: ...
def layer_moments(
    z: Tensor,
    weights: Tensor | None,
    y: Tensor,
    moments: Tensor,
    output: Tensor | None,
    workspace: Tensor | None,
    activation: int,
) -> None: ...
def ridge_solve(
    moments: Tensor,
    projection: Tensor | None,
    solution: Tensor,
    residual: Tensor,
    rcond: Tensor,
    weights: Tensor | None,
    workspace: Tensor | None,
    targets: int,
    l2: float,
    free_bias: bool,
    alpha: float,
    beta: float,
) -> None: ...
def layer_moments_workspace_bytes(rows: int, tries: int, width: int, targets: int) -> int: ...  # CUDA builds only
def min_max_workspace_bytes() -> int: ...  # CUDA builds only
def entropy_workspace_bytes() -> int: ...  # CUDA builds only
def huffman_lengths_workspace_bytes(bins: int) -> int: ...  # CUDA builds only
def huffman_encode_workspace_bytes(n: int, bins: int) -> int: ...  # CUDA builds only
def huffman_decode_workspace_bytes(n: int, bins: int) -> int: ...  # CUDA builds only
def compress_weights_workspace_bytes(n: int, itemsize: int, max_bits: int) -> int: ...  # CUDA builds only
def decompress_weights_workspace_bytes(size: int, n: int) -> int: ...  # CUDA builds only

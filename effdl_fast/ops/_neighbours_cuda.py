"""The ops on nearest neighbours on CUDA: tiles of products by torch, and kernels that look at each.

The mathematics is that of the CPU kernels (csrc/common/points.h): a product of two points in words, which are floats,
bounds their distance from both sides, and pairs that the bounds leave in doubt have it computed in float64. So the
results are those of the CPU, bit for bit.

Two things of the data have to be known on the host: the range of the features, which scales them and tells whether all
are finite, and where classes end. The host waits for these once, at the beginning.
"""

import math
import struct
from typing import NamedTuple

import torch
from torch import Tensor

from effdl_fast import _C

UNIT = 2.0**-24  # of rounding to float32
SIDE = 64  # tiles are multiples of the squares that kernels work on, where there is memory
MOST = 1 << 15  # rows and columns of a tile: larger ones are no faster
# Floats and doubles as integers in their order, as the kernels store them.
BELOW_ALL, ABOVE_ALL = (0xFF800000 ^ 0x7FFFFFFF) - (1 << 32), 0x7FF0000000000000


class Frame(NamedTuple):
    """How points are brought into words: csrc/common/points_cuda.h, CudaFrame."""

    metric: str
    scale: float
    exact_scale: float
    square_scale: float
    bound: float
    least: float


class Points:
    """Rows of features in words, up to `most` at a time, in memory that the next ones take over."""

    def __init__(self, features: Tensor, frame: Frame, centre: Tensor, most: int) -> None:
        self.features, self.frame, self.centre = features, frame, centre
        self.buffer = features.new_empty(most * (features.shape[1] + 2), dtype=torch.float32)

    def pack(self, begin: int, end: int, order: Tensor | None = None) -> None:
        """Rows [begin, end) of the features, or of their order."""
        n, dims = end - begin, self.features.shape[1]
        self.begin, self.end = begin, end
        self.words = self.buffer[: n * dims].view(n, dims)
        self.base, self.slack = self.buffer[n * dims : n * (dims + 2)].view(2, n)
        source = self.features[begin:end] if order is None else self.features
        samples = None if order is None else order[begin:end]
        _C.pack_points(source, samples, self.centre, self.frame, self.words, self.base, self.slack)


def make_frame(features: Tensor, largest: float, metric: str) -> Frame:
    """As the constructor of Frame in csrc/common/points.cpp; `largest` is the greatest absolute value."""
    dims = features.shape[1]
    exponent = math.frexp(largest)[1]
    scale = exact_scale = 1.0
    if features.dtype is not torch.uint8 and largest > 0:
        scale = math.ldexp(1.0, -min(max(exponent, -1000), 1000))
    if features.dtype is torch.float64 and not -400 <= exponent <= 490:
        exact_scale = scale
    square_scale = 1.0 if metric == "cosine" else (scale / exact_scale) ** 2
    # Twice `dims` for the chain of the product, which TF32 truncates rather than rounds; 24 for the rest.
    chain = 2.0 * dims
    tf32 = torch.backends.cuda.matmul.fp32_precision not in ("none", "ieee")
    bound = 1.05 * UNIT * ((2 if tf32 else 1) * chain + 24.0) + (1.01 * 2.0**-9 if tf32 else 0.0)
    return Frame(metric, scale, exact_scale, square_scale, bound, (dims + 16.0) * 2.0**-120)


def make_centre(features: Tensor, frame: Frame) -> Tensor:
    """float32 (dims,): what is taken off the scaled features. Any values are right, those near the mean are good."""
    n, dims = features.shape
    if frame.metric != "l2":
        return features.new_zeros(dims, dtype=torch.float32)
    if features.dtype is torch.uint8:
        return (features.sum(dim=0, dtype=torch.float64) / n).round().float()
    mean = features.sum(dim=0, dtype=torch.float64) / n
    return (mean * frame.scale).float().nan_to_num(0.0, 0.0, 0.0)  # a sum may overflow


def survey(op: str, features: Tensor) -> Tensor:
    """int64 (2,), for `largest_of` on the host."""
    seen = torch.zeros(2, dtype=torch.int64, device=features.device)
    _C.survey_points(op, features, seen)
    return seen


def largest_of(op: str, name: str, features: Tensor, seen: list[int]) -> float:
    """The greatest absolute value of finite features."""
    rows, bits = seen
    if rows > 0:
        raise ValueError(f"{op}: row {features.shape[0] - rows} of {name} holds NaN or infinity")
    return struct.unpack("<d", struct.pack("<q", bits))[0]


def tile_size(dims: int, space: int) -> int:
    """The side of a tile of products that fits into `space` bytes with the words of its rows and columns."""
    free = space // 4
    size = int(math.sqrt((dims + 2.0) ** 2 + free) - (dims + 2.0))
    return min(MOST, size // SIDE * SIDE if size >= SIDE else max(1, size))


def redundancy_depth_cuda(op: str, features: Tensor, labels: Tensor, metric: str, space: int) -> Tensor:
    """Checked arguments; int32 (n,). `op` is the one that was called, for errors and last_kernel()."""
    features = features.detach().contiguous()
    n, dims = features.shape
    seen = survey(op, features)
    if n == 0:
        return torch.empty(0, dtype=torch.int32, device=features.device)
    sorted_labels, order = labels.long().sort(stable=True)
    class_end = torch.searchsorted(sorted_labels, sorted_labels, right=True)
    size = min(n, tile_size(dims, space))
    begins = range(0, n, size)
    ends = [min(n, begin + size) for begin in begins]
    # Where the classes of the first and of the last sample of each block end.
    sides = torch.cat([class_end[::size], class_end[size - 1 :: size], class_end[-1:]])
    known = torch.cat([seen, sides]).tolist()
    first_end, last_end = known[2 : 2 + len(ends)], known[2 + len(ends) :]
    frame = make_frame(features, largest_of(op, "features", features, known[:2]), metric)
    if first_end[0] == n:  # no enemies
        return torch.full((n,), n - 1, dtype=torch.int32, device=features.device)

    centre = make_centre(features, frame)
    rows, cols = Points(features, frame, centre, size), Points(features, frame, centre, size)
    products = features.new_empty(size * size, dtype=torch.float32)
    limit = torch.full((n,), BELOW_ALL, dtype=torch.int32, device=features.device)
    enemy = torch.full((n,), ABOVE_ALL, dtype=torch.int64, device=features.device)
    depth = torch.zeros(n, dtype=torch.int32, device=features.device)
    for counting in (False, True):
        for i, row in enumerate(begins):
            rows.pack(row, ends[i], order)
            for j in range(i, len(ends)):
                col = begins[j]
                if counting and last_end[i] <= col:
                    break
                if not counting and first_end[i] >= ends[j]:
                    continue
                other = rows
                if j > i:
                    cols.pack(col, ends[j], order)
                    other = cols
                tile = products[: (ends[i] - row) * (ends[j] - col)].view(ends[i] - row, ends[j] - col)
                torch.mm(rows.words, other.words.T, out=tile)
                bounds = (rows.base, rows.slack, other.base, other.slack)
                state = (order, class_end, limit, enemy, depth)
                _C.redundancy_depth_tile(features, frame, counting, tile, row, col, *bounds, *state)
    return depth


def knn_cuda(
    queries: Tensor, keys: Tensor, k: int, metric: str, exclude_self: bool, space: int
) -> tuple[Tensor, Tensor]:
    """Checked arguments; distances and indices (queries, k)."""
    queries, keys = queries.detach().contiguous(), keys.detach().contiguous()
    (m, dims), n = queries.shape, keys.shape[0]
    dtype = torch.float64 if queries.dtype is torch.float64 else torch.float32
    distances = queries.new_empty((m, k), dtype=dtype)
    indices = queries.new_empty((m, k), dtype=torch.int64)
    seen = torch.cat([survey("knn", queries), survey("knn", keys)]).tolist()
    largest = max(largest_of("knn", "queries", queries, seen[:2]), largest_of("knn", "keys", keys, seen[2:]))
    if m == 0 or k == 0:
        return distances, indices

    frame = make_frame(keys, largest, metric)
    centre = make_centre(keys, frame)
    block_bytes = _C.knn_block_bytes(k)
    blocks = min(m, max(1, space // 4 // block_bytes)) if block_bytes > 0 else 0
    workspace = queries.new_empty(blocks * block_bytes, dtype=torch.uint8)
    height, width = _knn_tile(m, n, dims, k, space - blocks * block_bytes)
    rows, cols = Points(queries, frame, centre, height), Points(keys, frame, centre, width)
    products = queries.new_empty(height * width, dtype=torch.float32)
    best = queries.new_empty((height, k), dtype=torch.float64)
    for row in range(0, m, height):
        row_end = min(m, row + height)
        rows.pack(row, row_end)
        for col in range(0, n, width):
            col_end = min(n, col + width)
            if row == 0 or width < n:
                cols.pack(col, col_end)
            tile = products[: (row_end - row) * (col_end - col)].view(row_end - row, col_end - col)
            torch.mm(rows.words, cols.words.T, out=tile)
            bounds = (rows.base, rows.slack, cols.base, cols.slack)
            found = (best[: row_end - row], indices[row:row_end], distances[row:row_end], workspace)
            _C.knn_tile(queries, keys, frame, exclude_self, col_end == n, tile, row, col, *bounds, *found)
    return distances, indices


def _knn_tile(m: int, n: int, dims: int, k: int, space: int) -> tuple[int, int]:
    """Rows and columns of a tile: as square as queries and keys allow."""
    per_row, per_col = 4 * (dims + 2) + 8 * k, 4 * (dims + 2)

    def fits(other: int, per_other: int, per_point: int) -> int:
        count = max(0, space - other * per_other) // (4 * other + per_point)
        return max(SIDE, count // SIDE * SIDE)  # smaller tiles would take forever

    side = tile_size(dims + k, space)
    height = min(m, side)
    width = min(n, max(side, fits(height, per_row, per_col)))
    if width == n:
        height = min(m, max(height, fits(width, per_col, per_row)))
    return height, width

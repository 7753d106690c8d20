"""What happens to the weights of a layer when they are sent (thesis Algorithms 1 and 2)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from effdl_fast import ops

MAX_BITS = 16  # of ops.quantize; finer grids are computed in float64 here, and have no Huffman code

# The thesis's N = H + c need not be a whole number. "fractional" divides the range into 2^N levels rounded to a whole
# number of them.
ROUNDINGS: dict[str, Callable[[float], float]] = {
    "ceil": lambda bits: math.ceil(bits - 1e-9),
    "nearest": lambda bits: math.floor(bits + 0.5),
    "fractional": lambda bits: bits,
}


class Sent(NamedTuple):
    """A layer's weights after the exchange, and bits per weight. None where a grid has no code or no record.

    bits: log2 of the number of levels; huffman: mean code length; record: the bytes of ops.compress_weights, with
    everything that decoding needs.
    """

    weights: Tensor
    bits: float
    huffman: float | None
    record: float | None


def bits_for(
    weights: Tensor, floor: int, entropy_bits: int, rounding: str, sample: float, generator: torch.Generator
) -> float:
    """N = H + floor, H from a quantizer with `entropy_bits` (0: H is 0), rounded as ROUNDINGS says, in [1, 16]."""
    entropy = float(ops.entropy(weights, entropy_bits, sample, generator)) if entropy_bits else 0.0
    return min(max(ROUNDINGS[rounding](entropy + floor), 1.0), float(MAX_BITS))


def send(weights: Tensor, bits: float) -> Sent:
    """`weights` (any shape) on a grid of round(2^bits) levels between their extremes; each goes to its bin's centre."""
    whole = bits == int(bits) and bits <= MAX_BITS
    if not whole:
        return _send_on_any_grid(weights, round(2.0**bits))
    quantized = ops.quantize(weights, int(bits))
    record = ops.compress_weights(weights, bits=int(bits))
    received = ops.decompress_weights(record).view_as(weights)
    rate = huffman_rate(quantized.codes, 1 << int(bits))
    return Sent(received, bits, rate, 8 * record.numel() / weights.numel())


def huffman_rate(codes: Tensor, levels: int) -> float:
    """Mean length in bits of the Huffman codes of `codes`, without the codebook."""
    counts = ops.histogram(codes, levels)
    return float((counts * ops.huffman_lengths(counts)).sum()) / codes.numel()


def _send_on_any_grid(weights: Tensor, levels: int) -> Sent:
    """For numbers of levels that ops.quantize does not have; in float64, rounded to the weights' dtype at the end."""
    wide = weights.double()
    lo, hi = wide.min(), wide.max()
    step = (hi - lo) / levels
    codes = ((wide - lo) / step).nan_to_num(0.0).floor().clamp(0, levels - 1)
    received = (lo + (codes + 0.5) * step).to(weights.dtype)
    few = levels <= 1 << MAX_BITS
    rate = huffman_rate(codes.to(torch.int32).to(torch.uint16), levels) if few else None
    return Sent(received, math.log2(levels), rate, None)

"""One tensor of weights as few bytes (thesis ch. 3, Algorithm 1)."""

import functools
import math
from typing import Any

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops import _weights_record as record
from effdl_fast.ops._arguments import floating, integer, number, register
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._weights import MAX_BITS, cut, fraction, workspace
from effdl_fast.ops._weights_lanes import RANS_TOTAL, encode, huffman_code, rans_code, rans_frequencies
from effdl_fast.ops._weights_ref import codes_of, finite, grid, min_max
from effdl_fast.ops.entropy import estimate
from effdl_fast.ops.histogram import histogram_ref
from effdl_fast.ops.huffman_lengths import huffman_lengths_ref
from effdl_fast.ops.pack_bits import pack_bits_ref

CODECS = {"raw": 0, "fixed": 2, "huffman": 3, "rans": 4, "auto": 5}


def compress_weights(
    x: Tensor,
    *,
    floor: float = 6,
    entropy_bits: int = 4,
    sample: float = 0.03,
    seed: int = 0,
    codec: str = "huffman",
    bits: int | None = None,
    nonfinite: str = "error",
) -> Tensor:
    """Quantizes and entropy-codes one tensor: a record of docs/format.md (thesis ch. 3, Algorithm 1).

    The number of bits is N = clip(ceil(H + floor), 1, 16), H being the entropy that a quantizer with `entropy_bits` has
    on a sample of x. Range, entropy, codes, histogram, codebook and stream are made in one call. The same bytes on
    every device and for any number of threads. On CUDA the host waits once, for the number of bytes.

    Args:
        x: float32, float64, float16 or bfloat16, any shape and strides; read as a constant. The shape is not stored.
        floor: bits above the entropy; c in the thesis. 6 loses no accuracy there, 5 hardly any.
        entropy_bits: of the quantizer that estimates the entropy, 1 to 16; M in the thesis.
        sample: the part of x that this looks at, above 0 and at most 1; F in the thesis. At least 1024 elements.
        seed: of the choice of that part, from 0 to 2^63 - 1.
        codec: "huffman", the thesis's; "rans", smaller where the entropy is low; "fixed", N bits for each element;
            "raw", nothing lost; "auto", the smallest of them. Where an entropy code would not pay, the plainer form is
            kept. Constant tensors are stored as such by all but "raw".
        bits: N itself instead of the estimate, 1 to 16.
        nonfinite: "error", or "raw" to store a tensor with NaN or infinite elements as it is.

    Returns:
        uint8 (size,) on x's device, which `decompress_weights` reads: a header of 48 bytes, and hardly ever more than
        x itself takes.

    Raises:
        ValueError: NaN or infinite elements, unless nonfinite is "raw".
        TypeError, ValueError: wrong dtype or options.

    Under torch.compile(fullgraph=True) the size needs torch._dynamo.config.capture_dynamic_output_shape_ops.
    """
    way = route("compress_weights", "x", x)
    if way == REFERENCE:
        return compress_weights_ref(x, floor=floor, entropy_bits=entropy_bits, sample=sample, seed=seed, codec=codec,
                                    bits=bits, nonfinite=nonfinite)  # fmt: skip
    floating("compress_weights", "x", x)
    if way == DISPATCHER:
        options = _check(floor, entropy_bits, sample, seed, codec, bits, nonfinite)
        return torch.ops.effdl_fast.compress_weights(x.detach(), *options)
    try:
        options = _checked(floor, entropy_bits, sample, seed, codec, bits, nonfinite)
    except TypeError:  # also of values that cannot be looked up
        options = _check(floor, entropy_bits, sample, seed, codec, bits, nonfinite)
    return _run(x, *options)


Options = tuple[float, int, float, int, int, int, bool]


def _check(floor: Any, entropy_bits: Any, sample: Any, seed: Any, codec: Any, bits: Any, nonfinite: Any) -> Options:
    """The options as the kernel takes them."""
    op = "compress_weights"
    floor, sample = number(op, "floor", floor), fraction(op, sample)
    entropy_bits = integer(op, "entropy_bits", entropy_bits, 1, MAX_BITS)
    seed = integer(op, "seed", seed, 0, 2**63 - 1)
    bits = 0 if bits is None else integer(op, "bits", bits, 1, MAX_BITS)
    if not isinstance(codec, str) or codec not in CODECS:
        raise ValueError(f"{op}: codec must be 'auto', 'huffman', 'rans', 'fixed' or 'raw', got {codec!r}")
    if not isinstance(nonfinite, str) or nonfinite not in ("error", "raw"):
        raise ValueError(f"{op}: nonfinite must be 'error' or 'raw', got {nonfinite!r}")
    return floor, entropy_bits, sample, seed, CODECS[codec], bits, nonfinite == "raw"


# Checking takes longer than looking up what has been checked, and tensors of a model come with the same options.
_checked = functools.lru_cache(maxsize=64, typed=True)(_check)


def clip_bits(entropy: float, floor: float) -> int:
    """N of Algorithm 1, line 5; an entropy that is an integer but for its rounding is not rounded up."""
    return min(max(math.ceil(min(max(entropy + floor - 1e-9, 0.0), 32.0)), 1), MAX_BITS)


def _run(x: Tensor, floor: float, entropy_bits: int, sample: float, seed: int, codec: int, bits: int,
         keep_nonfinite: bool) -> Tensor:  # fmt: skip
    x = x.contiguous()
    n, most = x.numel(), bits or clip_bits(entropy_bits, floor)
    out = torch.empty(_C.compress_weights_bound(n, x.element_size(), most), dtype=torch.uint8, device=x.device)
    space = workspace("compress_weights", x, n, x.element_size(), most)
    size = _C.compress_weights(x, out, space, floor, entropy_bits, sample, seed, codec, bits, keep_nonfinite)
    if x.is_cuda:
        head = out[: record.HEADER.size].cpu()
        if not bool(head[0]):
            raise ValueError("compress_weights: x must be finite, but has NaN or infinite elements")
        size = record.unpack_header(head).size
    return cut(out, size)


def _fake(x: Tensor, *options: Any) -> Tensor:
    return torch.empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.uint8, device=x.device)


register(
    "compress_weights",
    "(Tensor x, float floor, int entropy_bits, float sample, int seed, int codec, int bits, bool keep_nonfinite) "
    "-> Tensor",
    _run,
    _fake,
)


def compress_weights_ref(
    x: Tensor,
    *,
    floor: float = 6,
    entropy_bits: int = 4,
    sample: float = 0.03,
    seed: int = 0,
    codec: str = "huffman",
    bits: int | None = None,
    nonfinite: str = "error",
) -> Tensor:
    """`compress_weights` in plain PyTorch."""
    op = "compress_weights"
    floating(op, "x", x)
    floor, entropy_bits, sample, seed, _, given, keep = _check(
        floor, entropy_bits, sample, seed, codec, bits, nonfinite
    )
    x = x.detach().reshape(-1).contiguous()
    n, dtype = x.shape[0], x.dtype
    raw = record.write(record.RAW, dtype, n, x.view(torch.uint8))
    if keep and not bool(x.isfinite().all()):
        return raw
    finite(op, x)
    if n == 0 or codec == "raw":
        return raw
    ends = min_max(op, x)
    lo, hi = float(ends[0]), float(ends[1])
    if lo == hi:
        return record.write(record.CONSTANT, dtype, n, raw[:0], lo=lo, hi=hi)
    try:
        n_bits = given or clip_bits(float(estimate(x, entropy_bits, sample, seed, op)), floor)
        codes = codes_of(x, grid(op, *ends, n_bits), n_bits)
    except ValueError:  # a float64 range that cannot be divided
        return raw
    # The candidates' sizes as far as they are known before encoding; of equals the plainer one is taken.
    counts = histogram_ref(codes, 1 << n_bits)
    lengths = huffman_lengths_ref(counts)
    book = record.huffman_book(lengths)
    huffman = record.coded_size(n, book[2], record.huffman_bits(counts, lengths))
    frequencies, rans = None, math.inf
    if int((counts > 0).sum()) <= RANS_TOTAL:
        frequencies = rans_frequencies(counts)
        rans = record.coded_size(n, record.rans_book(frequencies)[2], record.rans_bits(counts, frequencies))
    fixed, plain = record.fixed_size(n, n_bits), record.raw_size(n, dtype)
    if codec == "auto":
        codec = "rans" if rans <= huffman - huffman // 50 else "huffman"
    coded = {"huffman": huffman, "rans": rans, "fixed": fixed}[codec]
    if fixed <= coded:
        codec, coded = "fixed", fixed
    if plain <= coded:
        return raw
    if codec == "fixed":
        return record.write(record.FIXED, dtype, n, pack_bits_ref(codes, n_bits), bits=n_bits, lo=lo, hi=hi)
    if codec == "huffman":
        payload, sizes = encode(codes.to(torch.int32), huffman_code(lengths))
        return record.write(record.HUFFMAN, dtype, n, payload, bits=n_bits, lo=lo, hi=hi, book=book, sizes=sizes)
    assert frequencies is not None
    payload, sizes = encode(codes.to(torch.int32), rans_code(frequencies))
    book = record.rans_book(frequencies)
    return record.write(record.RANS, dtype, n, payload, bits=n_bits, lo=lo, hi=hi, book=book, sizes=sizes)

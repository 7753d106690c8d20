"""Whole tensors and state dicts in one call."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from effdl_fast.compress import _format
from effdl_fast.compress._format import Progress
from effdl_fast.compress._memory import as_buffer
from effdl_fast.compress._options import Options
from effdl_fast.compress.reader import Container, Device, map_file
from effdl_fast.compress.writer import Sink, write_all
from effdl_fast.files import AtomicFile

Content = Tensor | Mapping[str, Tensor]


def compress(
    tensor_or_state_dict: Content,
    *,
    floor: float = 6,
    entropy_bits: int = 4,
    sample: float = 0.03,
    seed: int = 0,
    codec: str = "huffman",
    nonfinite: str = "error",
) -> bytes:
    """Compress a tensor or a state dict (thesis 3.6, Algorithm 1) into bytes; `decompress` gives it back.

    Each float32, float64, float16 and bfloat16 tensor is quantized to N = ceil(H + floor) bits, 1 to 16, between its
    smallest and largest element, and its codes are Huffman coded. Every element comes back within half a step, (max -
    min) / 2^(N + 1), plus the rounding to its dtype. Tensors of other dtypes, and tensors that would not shrink, are
    kept byte for byte; constant tensors come back exactly.

    tensor_or_state_dict: a tensor of any shape, strides, dtype and device, or a mapping of strings to such tensors.
    Tensors of the mapping that are the same memory, or a view that lies within another one, are stored once and share
    memory again when decompressed; tensors that overlap in other ways come back apart. A view that is stored with the
    tensor it lies within is quantized with that one's range, which may be wider than its own.

    floor: c, bits above the entropy H; 6 loses no accuracy in the thesis's experiments, 5 is the smaller choice.
    entropy_bits: M, bits of the preliminary quantizer that H is estimated with. sample: F, the fraction of the elements
    it is estimated from, at seeded places. codec: "huffman" (the thesis's), "rans" (smaller below about 1.5 bits per
    element), "fixed" (no entropy coding), "auto" (the smallest of them), "raw" (nothing is quantized). nonfinite:
    "error", or "raw" to keep tensors with NaN or infinity byte for byte; codec="raw" keeps them in any case.

    Raises TypeError and ValueError naming the tensor: NaN or infinity, sparse, meta and quantized tensors, values that
    are no tensors. The bytes are those of docs/format.md, the same for every device and number of threads.
    """
    options = Options(floor, entropy_bits, sample, seed, codec, nonfinite)
    stream = io.BytesIO()
    write_all(Sink(stream, options, isinstance(tensor_or_state_dict, Tensor), None), tensor_or_state_dict)
    return stream.getvalue()


def decompress(data: Any, *, device: Device = None, max_elements: int | None = None) -> Tensor | dict[str, Tensor]:
    """What `compress` was given (thesis 3.6, Algorithm 2): a tensor, or a dict in the order of its keys.

    data: bytes-like, or a uint8 tensor on the CPU. device: of the tensors, the CPU by default. max_elements: raise if
    the data say that they hold more; set it for data from strangers, as constant tensors of any size take few bytes.
    Dtypes and shapes are those given; tensors are contiguous, except for tied views.

    Raises CorruptDataError for data that are truncated, altered, have bytes after their end, or are of an unknown
    version, before anything is allocated for the tensor concerned.
    """
    return Container(as_buffer(data, "decompress"), max_elements).content(device)


def save(
    path: str | os.PathLike[str],
    tensor_or_state_dict: Content,
    *,
    floor: float = 6,
    entropy_bits: int = 4,
    sample: float = 0.03,
    seed: int = 0,
    codec: str = "huffman",
    nonfinite: str = "error",
    metadata: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> None:
    """`compress` into a file, tensor by tensor.

    The file appears, or is replaced, only when it is whole and on disk. metadata: strings by strings, kept beside the
    tensors (`Reader.metadata`). progress: called with the bytes in memory of each tensor that is done. Everything else
    as `compress`.
    """
    options = Options(floor, entropy_bits, sample, seed, codec, nonfinite, caller="save")
    output = AtomicFile(path)
    try:
        sink = Sink(output.file, options, isinstance(tensor_or_state_dict, Tensor), metadata)
        write_all(sink, tensor_or_state_dict, progress)
        output.commit()
    except BaseException:
        output.discard()
        raise


def load(
    path: str | os.PathLike[str],
    *,
    device: Device = None,
    max_elements: int | None = None,
    progress: Progress | None = None,
) -> Tensor | dict[str, Tensor]:
    """What `save` was given; `decompress` of a file, which is mapped into memory, not read as a whole.

    progress: called with the bytes in memory of each tensor that is done.
    """
    return Container(memoryview(map_file(path)), max_elements).content(device, progress)


def compress_bound(n: int, dtype: torch.dtype = torch.float32) -> int:
    """The most bytes that `compress` makes of one tensor of n elements of `dtype`, whatever its values and shape."""
    if not isinstance(n, int) or isinstance(n, bool):
        raise TypeError(f"compress_bound: n must be an integer, got {type(n).__name__}")
    if n < 0:
        raise ValueError(f"compress_bound: n must not be negative, got {n}")
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"compress_bound: dtype must be a torch.dtype, got {type(dtype).__name__}")
    return _format.HEADER_BYTES + _format.aligned(n * dtype.itemsize) + _format.LONGEST_ENDING

"""What a container holds and what it saves, from its directory and the records' headers; nothing is decoded."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import torch

from effdl_fast.compress._format import ALIAS, RAW, Entry
from effdl_fast.compress._memory import as_buffer
from effdl_fast.compress.reader import Container, map_file

_CODECS = ("raw", "constant", "fixed", "huffman", "rans")


@dataclass(frozen=True)
class TensorInfo:
    """One tensor of a container.

    codec: raw (byte-exact), constant, fixed, huffman or rans. bits: N of the quantizer, None where there is none.
    original_bytes: in memory. stored_bytes: without the padding to 64 bytes and the directory. step: of the quantizer.
    max_error: step / 2, the largest difference to the original before rounding to dtype; 0 for raw and constant.
    tied_to: the tensor that this one is a view of, whose codec, bits and step it has; its own bytes are 0.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    codec: str
    bits: int | None
    elements: int
    original_bytes: int
    stored_bytes: int
    step: float
    tied_to: str | None = None

    @property
    def max_error(self) -> float:
        return self.step / 2

    @property
    def bits_per_parameter(self) -> float:
        return _ratio(8 * self.stored_bytes, self.elements)

    @property
    def ratio(self) -> float:
        return _ratio(self.original_bytes, self.stored_bytes)


@dataclass(frozen=True)
class Inspection:
    """A container. container_bytes: all of it, the size of the file. overhead_bytes: header, directory, padding."""

    tensors: tuple[TensorInfo, ...]
    metadata: dict[str, str]
    container_bytes: int

    @property
    def elements(self) -> int:
        """Parameters that are stored; tied ones count once."""
        return sum(t.elements for t in self.tensors if t.tied_to is None)

    @property
    def original_bytes(self) -> int:
        return sum(t.original_bytes for t in self.tensors)

    @property
    def stored_bytes(self) -> int:
        return sum(t.stored_bytes for t in self.tensors)

    @property
    def overhead_bytes(self) -> int:
        return self.container_bytes - self.stored_bytes

    @property
    def bits_per_parameter(self) -> float:
        return _ratio(8 * self.container_bytes, self.elements)

    @property
    def ratio(self) -> float:
        """Bytes in memory by bytes of the container."""
        return _ratio(self.original_bytes, self.container_bytes)

    @property
    def max_error(self) -> float:
        return max((t.max_error for t in self.tensors), default=0.0)


def _ratio(a: int, b: int) -> float:
    return a / b if b else 0.0


def inspect(data: Any, *, verify: bool = False) -> Inspection:
    """What a container holds.

    data: `compress`'s bytes (bytes-like or a uint8 tensor on the CPU), or the path of a file (str or os.PathLike).
    verify: also compare every tensor's checksum, which reads all bytes. CorruptDataError for what `decompress` would
    refuse in the directory and in the records' headers.
    """
    path = isinstance(data, str | os.PathLike)
    container = Container(memoryview(map_file(data)) if path else as_buffer(data, "inspect"))
    tensors = []
    for e in container.entries:
        if verify and e.kind != ALIAS:
            container.bytes(e)
        tensors.append(_info(e, container))
    return Inspection(tuple(tensors), container.directory.metadata, len(container.data))


def _info(e: Entry, container: Container) -> TensorInfo:
    if e.kind == ALIAS:
        base = _info(container.base_of(e), container)
        return replace(
            base, name=e.name, shape=e.shape, elements=e.elements, original_bytes=0, stored_bytes=0, tied_to=base.name
        )
    if e.kind == RAW:
        return TensorInfo(e.name, e.shape, e.dtype, "raw", None, e.elements, e.nbytes, e.size, 0.0)
    codec, bits, lo, hi = container.record_header(e)
    step = (hi - lo) / 2**bits if bits else 0.0
    return TensorInfo(e.name, e.shape, e.dtype, _CODECS[codec], bits or None, e.elements, e.nbytes, e.size, step)

"""The container of docs/format.md but for the tensors: header, directory, footer."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from effdl_fast import _C
from effdl_fast.errors import CorruptDataError

MAGIC, END_MAGIC = b"EFWC", b"EFWE"
VERSION = 1
SINGLE = 1  # flag: a tensor, not a state dict
ALIGNMENT = 64  # of the header and of every tensor's bytes
RAW, RECORD, ALIAS = range(3)  # kinds of entries
MAX_DIMS = 64  # that torch's operators take
LARGEST = (1 << 63) - 1  # bytes or elements: torch counts in int64

Progress = Callable[[int], Any]  # called with the bytes in memory of each tensor that is done

_HEADER = struct.Struct("<4sBB58x")
_COUNTS = struct.Struct("<QQ")
_ENTRY = struct.Struct("<BBHIQQII")
_PAIR = struct.Struct("<II")
_FOOTER = struct.Struct("<QQQ")
_END = struct.Struct("<I4s")
HEADER_BYTES, ENTRY_BYTES = _HEADER.size, _ENTRY.size
FOOTER_BYTES = _FOOTER.size + _END.size
LONGEST_ENDING = _COUNTS.size + ENTRY_BYTES + 8 * MAX_DIMS + FOOTER_BYTES  # of a single tensor's container

# Code of each dtype: its place in this list. The first four are those of a record.
_DTYPES = [
    "float32", "float64", "float16", "bfloat16", "bool", "uint8", "int8", "uint16", "int16", "uint32", "int32",
    "uint64", "int64", "complex32", "complex64", "complex128", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2", "bcomplex32", "bits8", "bits16", "bits1x8", "bits2x4",
    "bits4x2", "int1", "int2", "int3", "int4", "int5", "int6", "int7", "uint1", "uint2", "uint3", "uint4", "uint5",
    "uint6", "uint7",
]  # fmt: skip
RECORD_DTYPES = 4
_CODES = {getattr(torch, name): code for code, name in enumerate(_DTYPES) if hasattr(torch, name)}


@dataclass(frozen=True)
class Entry:
    """One tensor of the directory.

    raw, record: `offset` and `size` in bytes say where its bytes are, `crc` is their CRC32C. alias: its elements are
    those of entry number `size`, from element `offset` on, at distances of `strides`.
    """

    name: str
    kind: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int
    size: int
    crc: int = 0
    strides: tuple[int, ...] = ()

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor in memory."""
        return self.elements * self.dtype.itemsize


@dataclass(frozen=True)
class Directory:
    entries: tuple[Entry, ...]
    metadata: dict[str, str]
    single: bool
    size: int  # bytes of header, directory and footer


def dtype_code(dtype: torch.dtype) -> int | None:
    """None for a dtype that has no code: those of quantized tensors, which are more than their elements."""
    return _CODES.get(dtype)


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def apart(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether the elements of such a view are surely at different places: what slicing and permuting a tensor keeps."""
    reach = 0
    for stride, dim in sorted((s, d) for s, d in zip(strides, shape, strict=True) if d > 1):
        if stride <= reach:
            return False
        reach += stride * (dim - 1)
    return True


def span(shape: Sequence[int], strides: Sequence[int]) -> int:
    """Elements from the first to the last of a view that is not empty."""
    return 1 + sum((d - 1) * s for d, s in zip(shape, strides, strict=True))


def header(single: bool) -> bytes:
    return _HEADER.pack(MAGIC, VERSION, SINGLE if single else 0)


def ending(entries: Sequence[Entry], metadata: dict[str, str], single: bool, offset: int) -> bytes:
    """Directory and footer of a file whose directory begins at `offset`."""
    parts = [_COUNTS.pack(len(entries), len(metadata))]
    for e in entries:
        name = e.name.encode()
        parts.append(
            _ENTRY.pack(e.kind, _CODES[e.dtype], len(e.shape), e.crc, e.offset, e.size, len(name), 0)
            + struct.pack(f"<{len(e.shape)}Q", *e.shape)
            + struct.pack(f"<{len(e.strides)}Q", *e.strides)
            + name
        )
    for key, value in metadata.items():
        pair = key.encode(), value.encode()
        parts += [_PAIR.pack(*map(len, pair)), *pair]
    directory = b"".join(parts)
    footer = _FOOTER.pack(offset, len(directory), offset + len(directory) + FOOTER_BYTES)
    crc = _C.crc32c(directory + footer, _C.crc32c(header(single)))
    return directory + footer + _END.pack(crc, END_MAGIC)


def parse(data: memoryview) -> Directory:
    """The directory of a whole container. CorruptDataError unless every byte but the tensors' own is as it must be."""
    if len(data) < HEADER_BYTES + _COUNTS.size + FOOTER_BYTES:
        raise CorruptDataError(f"container: {len(data)} bytes are too few")
    magic, version, flags = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise CorruptDataError("container: it does not begin as one (no EFWC)")
    if version != VERSION:
        raise CorruptDataError(f"container: version {version} is not known, only {VERSION} is")
    if bytes(data[:HEADER_BYTES]) != header(bool(flags & SINGLE)):
        raise CorruptDataError("container: unknown flags")
    footer = len(data) - FOOTER_BYTES
    offset, size, total = _FOOTER.unpack_from(data, footer)
    crc, end = _END.unpack_from(data, footer + _FOOTER.size)
    if end != END_MAGIC or total != len(data) or offset < HEADER_BYTES or offset + size != footer:
        raise CorruptDataError("container: it is truncated, or has bytes after its end")
    if _C.crc32c(data[offset : footer + _FOOTER.size], _C.crc32c(data[:HEADER_BYTES])) != crc:
        raise CorruptDataError("container: the checksum of its directory does not fit")
    cursor = _Cursor(data[offset:footer])
    count, pairs = cursor.take(_COUNTS)
    if count * ENTRY_BYTES + pairs * _PAIR.size > size:
        raise CorruptDataError("container: its directory is smaller than the number of its entries says")
    entries = tuple(_entry(cursor) for _ in range(count))
    metadata = dict(_pair(cursor) for _ in range(pairs))
    if cursor.left or len(metadata) != pairs:
        raise CorruptDataError("container: its directory does not end where its entries do")
    _check_layout(entries, offset)
    single = bool(flags & SINGLE)
    if len({e.name for e in entries}) != count or (single and [e.name for e in entries] != [""]):
        raise CorruptDataError("container: names of tensors occur twice or are missing")
    return Directory(entries, metadata, single, HEADER_BYTES + size + FOOTER_BYTES)


class _Cursor:
    """Reads on in the directory, never past its end."""

    def __init__(self, data: memoryview) -> None:
        self.data, self.at = data, 0

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def bytes(self, size: int) -> memoryview:
        if size > self.left:
            raise CorruptDataError("container: an entry goes past the end of the directory")
        self.at += size
        return self.data[self.at - size : self.at]

    def take(self, layout: struct.Struct) -> tuple:
        return layout.unpack(self.bytes(layout.size))

    def text(self, size: int) -> str:
        try:
            return str(self.bytes(size), "utf-8")
        except UnicodeDecodeError:
            raise CorruptDataError("container: a name or its metadata is not UTF-8") from None

    def sizes(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}Q", self.bytes(8 * count))


def _pair(cursor: _Cursor) -> tuple[str, str]:
    key, value = cursor.take(_PAIR)
    return cursor.text(key), cursor.text(value)


def _entry(cursor: _Cursor) -> Entry:
    kind, code, dims, crc, offset, size, name, zero = cursor.take(_ENTRY)
    if kind > ALIAS or zero != 0 or dims > MAX_DIMS or code >= len(_DTYPES):
        raise CorruptDataError("container: an entry of an unknown kind or dtype")
    dtype = getattr(torch, _DTYPES[code], None)
    if dtype is None:
        raise CorruptDataError(f"container: this torch, {torch.__version__}, has no {_DTYPES[code]}")
    shape = cursor.sizes(dims)
    strides = cursor.sizes(dims) if kind == ALIAS else ()
    entry = Entry(cursor.text(name), kind, dtype, shape, offset, size, crc, strides)
    # Empty tensors of enormous shapes would overflow torch's strides.
    if math.prod(max(d, 1) for d in shape) * dtype.itemsize > LARGEST:
        raise CorruptDataError(f"container: the shape of {entry.name!r} overflows")
    if (kind == RAW and size != entry.nbytes) or (kind == RECORD and code >= RECORD_DTYPES):
        raise CorruptDataError(f"container: the size of {entry.name!r} does not fit its shape and dtype")
    return entry


def _check_layout(entries: Sequence[Entry], end: int) -> None:
    """The tensors' bytes lie one after the other from the header to the directory, each aligned; aliases are views."""
    position = HEADER_BYTES
    for e in entries:
        if e.kind == ALIAS:
            _check_alias(e, entries)
            continue
        if e.offset != position or e.size > end - position:
            raise CorruptDataError(f"container: {e.name!r} does not begin where the tensor before it ends")
        position = aligned(position + e.size)
    if position != end:
        raise CorruptDataError("container: its tensors do not end where the directory begins")


def _check_alias(e: Entry, entries: Sequence[Entry]) -> None:
    base = entries[e.size] if e.size < len(entries) else None
    if base is None or base.kind == ALIAS or base.dtype is not e.dtype or e.crc != 0:
        raise CorruptDataError(f"container: {e.name!r} is said to be a part of what it cannot be a part of")
    if not e.elements or not apart(e.shape, e.strides) or max(e.strides, default=0) > LARGEST:
        raise CorruptDataError(f"container: {e.name!r} overlaps itself")
    if e.offset + span(e.shape, e.strides) > base.elements:
        raise CorruptDataError(f"container: {e.name!r} is said to be more than a part of {base.name!r}")

"""Reading containers: nothing in them is trusted, and no tensor is decoded that is not asked for."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from effdl_fast import _C, ops
from effdl_fast.compress import _format
from effdl_fast.compress._format import ALIAS, RECORD, Entry, Progress
from effdl_fast.compress._memory import copy_of
from effdl_fast.errors import CorruptDataError

Device = torch.device | str | int | None


def map_file(path: str | os.PathLike[str]) -> mmap.mmap:
    """The file as memory that can only be read."""
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:  # which cannot be mapped
            raise CorruptDataError(f"container: {os.fspath(path)} is empty")
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def limit(elements: int, max_elements: int | None) -> None:
    if max_elements is not None and elements > max_elements:
        raise CorruptDataError(f"container: it holds {elements} elements, more than max_elements={max_elements}")


class Container:
    """The directory of a container in memory, checked, and what its entries decode to."""

    def __init__(self, data: memoryview, max_elements: int | None = None) -> None:
        self.data = data
        self.directory = _format.parse(data)
        self.entries = self.directory.entries
        limit(sum(e.elements for e in self.entries if e.kind != ALIAS), max_elements)

    def bytes(self, e: Entry) -> memoryview:
        """The bytes of an entry that is no alias; CorruptDataError unless their checksum fits and zeros follow."""
        end = e.offset + e.size
        stored = self.data[e.offset : end]
        if _C.crc32c(stored) != e.crc or any(self.data[end : _format.aligned(end)]):
            raise CorruptDataError(f"container: the checksum of {e.name!r} does not fit")
        return stored

    def record_header(self, e: Entry) -> tuple[int, int, float, float]:
        """codec, bits, lo and hi of a record; CorruptDataError unless it is one of the entry's shape and dtype."""
        codec, dtype, bits, n, lo, hi, *_ = _C.weights_header(self.data[e.offset : e.offset + e.size])
        if n != e.elements or dtype != _format.dtype_code(e.dtype):
            raise CorruptDataError(f"container: the record of {e.name!r} is not of its shape and dtype")
        return codec, bits, lo, hi

    def tensor(self, e: Entry, device: Device) -> Tensor:
        """The tensor of an entry that is no alias, in memory of its own."""
        stored: Any = self.bytes(e)
        device = torch.device("cpu") if device is None else torch.device(device)
        if e.kind == RECORD:
            self.record_header(e)
            record = stored if device.type == "cpu" else copy_of(stored).to(device)
            return ops.decompress_weights(record, max_elements=e.elements).view(e.shape)
        elements = copy_of(stored)
        if e.dtype is torch.bool and bool((elements > 1).any()):
            raise CorruptDataError(f"container: {e.name!r} is of dtype bool and holds other bytes than 0 and 1")
        return elements.view(e.dtype).view(e.shape).to(device)

    def base_of(self, e: Entry) -> Entry:
        """The entry that has the bytes of `e`."""
        return self.entries[e.size] if e.kind == ALIAS else e

    def view(self, e: Entry, base: Tensor) -> Tensor:
        """The alias `e` of its base as `tensor` gives it."""
        return base.as_strided(e.shape, e.strides, e.offset)

    def content(self, device: Device, progress: Progress | None = None) -> Tensor | dict[str, Tensor]:
        """All there is, as it was given to `compress` or `save`."""
        stored = {}
        for i, e in enumerate(self.entries):
            if e.kind != ALIAS:
                stored[i] = self.tensor(e, device)
            if progress is not None:
                progress(e.nbytes)
        if self.directory.single:
            return stored[0]
        return {
            e.name: self.view(e, stored[e.size]) if e.kind == ALIAS else stored[i] for i, e in enumerate(self.entries)
        }


class Reader(Mapping):
    """A container file, read through a memory map: `reader[name]` decodes one tensor and touches no other.

    path: the file. device: of the tensors. max_elements: CorruptDataError if the file says it holds more. A file that
    is truncated, altered or of an unknown version raises CorruptDataError, its directory here and its tensors when they
    are asked for. Each access decodes anew, into memory of its own; `load` is what keeps tied tensors tied. Iteration
    is in the order of writing; a lone tensor that `save` wrote has the name "". `metadata` holds what the writer was
    given.

    >>> with Reader("model.efw") as reader:
    ...     weight = reader["layer.weight"]
    """

    def __init__(self, path: str | os.PathLike[str], *, device: Device = None, max_elements: int | None = None) -> None:
        self.device = device
        self._container: Container | None = Container(memoryview(map_file(path)), max_elements)
        self._by_name = {e.name: e for e in self._container.entries}

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The directory as docs/format.md describes it."""
        return self._open().entries

    @property
    def single(self) -> bool:
        """Whether this is a tensor rather than a state dict."""
        return self._open().directory.single

    @property
    def metadata(self) -> dict[str, str]:
        return dict(self._open().directory.metadata)

    def __getitem__(self, name: str) -> Tensor:
        container, e = self._open(), self._by_name[name]
        base = container.tensor(container.base_of(e), self.device)
        return container.view(e, base) if e.kind == ALIAS else base

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_name)

    def __len__(self) -> int:
        return len(self._by_name)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def close(self) -> None:
        self._container = None  # the map goes with the last slice of it

    def _open(self) -> Container:
        if self._container is None:
            raise ValueError("Reader: it is closed")
        return self._container

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

"""Writing containers: into a file that appears whole or not at all, one tensor in memory at a time."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.compress import _format
from effdl_fast.compress._format import ALIAS, RAW, RECORD, Entry, Progress
from effdl_fast.compress._memory import bytes_of, integers
from effdl_fast.compress._options import FLOATS, Options
from effdl_fast.compress._refused import RefusedType, RefusedValue
from effdl_fast.compress._ties import find_ties
from effdl_fast.files import AtomicFile


class Sink:
    """Lays out a container in a binary stream: what `Writer` does for a file and `compress` in memory."""

    def __init__(self, stream: BinaryIO, options: Options, single: bool, metadata: Mapping[str, str] | None) -> None:
        self.stream, self.options, self.single = stream, options, single
        self.metadata = dict(metadata or {})
        for pair in self.metadata.items():
            if not all(isinstance(text, str) for text in pair):
                raise RefusedType(f"{options.caller}: metadata must be strings by strings, got {pair!r}")
            for text in pair:
                _check_text(options.caller, "metadata", text)
        self.entries: list[Entry] = []
        self.names: set[str] = set()
        self.position = 0
        self.broken = False  # a write failed, so positions are not what they are taken for
        self._write(_format.header(single))

    def tensor(self, name: str, x: Tensor) -> Entry:
        self._check(name)
        caller, what = self.options.caller, f"tensor {name!r}" if name else "the tensor"
        dense = _dense(x, caller, what)
        record = None
        if dense.dtype in FLOATS and dense.numel() and self.options.codec != "raw":
            record = self.options.record(dense, what)
        # A record that saves no aligned unit only loses accuracy.
        if record is not None and _format.aligned(record.numel()) < _format.aligned(dense.nbytes):
            kind, data = RECORD, record.cpu()
        else:
            kind, data = RAW, dense.cpu().view(torch.uint8)
        crc = _C.crc32c(data)
        entry = Entry(name, kind, x.dtype, tuple(x.shape), self.position, data.numel(), crc)
        self._add(entry, bytes_of(data))
        return entry

    def alias(self, name: str, base: int, dtype: torch.dtype, shape: Sequence[int], offset: int, strides: Any) -> Entry:
        self._check(name)
        entry = Entry(name, ALIAS, dtype, tuple(shape), offset, base, 0, tuple(strides))
        self._add(entry, b"")
        return entry

    def finish(self) -> None:
        self._require_whole()
        self.stream.write(_format.ending(self.entries, self.metadata, self.single, self.position))

    def _check(self, name: str) -> None:
        self._require_whole()
        _check_text(self.options.caller, "the name of a tensor", name)
        if name in self.names:
            raise RefusedValue(f"{self.options.caller}: there is a tensor {name!r} already")

    def _require_whole(self) -> None:
        if self.broken:
            raise OSError(f"{self.options.caller}: an earlier write failed; what is there is not whole")

    def _add(self, entry: Entry, data: bytes | memoryview) -> None:
        self.broken = True  # unless all of this succeeds
        self._write(data)
        self.names.add(entry.name)
        self.entries.append(entry)
        self.broken = False

    def _write(self, data: bytes | memoryview) -> None:
        """data and zeros up to the next aligned position."""
        self.stream.write(data)
        self.position += len(data)
        rest = -self.position % _format.ALIGNMENT
        self.stream.write(bytes(rest))
        self.position += rest


def _check_text(caller: str, what: str, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RefusedValue(f"{caller}: {what} must be Unicode text without lone surrogates, got {text!r}") from None


def _dense(x: Tensor, caller: str, what: str) -> Tensor:
    """The elements in order, 1-D; of floats as they are, of other dtypes as integers of their size."""
    if not isinstance(x, Tensor):
        raise RefusedType(f"{caller}: {what} must be a torch.Tensor, got {type(x).__name__}")
    if x.layout is not torch.strided or hasattr(x, "__tensor_flatten__") or x.device.type == "meta":
        kind = type(x).__name__ if hasattr(x, "__tensor_flatten__") else f"layout {x.layout}, device {x.device}"
        raise RefusedType(f"{caller}: {what} must be a dense tensor with memory of its own, got {kind}")
    if _format.dtype_code(x.dtype) is None:
        raise RefusedType(f"{caller}: {what} must not be quantized already, got {str(x.dtype).removeprefix('torch.')}")
    if x.dim() > _format.MAX_DIMS:
        raise RefusedValue(f"{caller}: {what} must have at most {_format.MAX_DIMS} dimensions, got {x.dim()}")
    x = x.detach().resolve_conj().resolve_neg() if x.dtype in FLOATS else integers(x)
    return x.contiguous().view(-1)


def write_all(sink: Sink, content: Tensor | Mapping[str, Tensor], progress: Progress | None = None) -> None:
    """A tensor, or a state dict in the order of its keys; tensors that share memory will share it again."""
    progress = progress or (lambda size: None)
    caller = sink.options.caller
    if isinstance(content, Tensor):
        sink.tensor("", content)
        progress(content.nbytes)
        sink.finish()
        return
    if not isinstance(content, Mapping):
        raise RefusedType(f"{caller}: expected a torch.Tensor or a state dict, got {type(content).__name__}")
    for name, value in content.items():
        if not isinstance(name, str):
            raise RefusedType(f"{caller}: the state dict's keys must be strings, got {name!r}")
        if not isinstance(value, Tensor):
            raise RefusedType(f"{caller}: tensor {name!r} must be a torch.Tensor, got {type(value).__name__}")
    tensors = list(content.values())
    ties = find_ties(tensors)
    for i, (name, x) in enumerate(content.items()):
        if i in ties:
            sink.alias(name, ties[i].base, x.dtype, x.shape, ties[i].offset, ties[i].strides)
        else:
            sink.tensor(name, x)
        progress(x.nbytes)
    sink.finish()


class Writer:
    """Writes a container tensor by tensor, for models larger than memory; only the tensor being added is in memory.

    path: the file, which appears (or is replaced) when the writer is closed, whole and synced to disk, and not at all
    if the `with` block is left by an exception. Options: see `compress`. metadata: strings by strings, kept as they
    are.

    >>> with Writer("model.efw", floor=5) as writer:
    ...     for name, tensor in tensors:
    ...         writer.add(name, tensor)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        floor: float = 6,
        entropy_bits: int = 4,
        sample: float = 0.03,
        seed: int = 0,
        codec: str = "huffman",
        nonfinite: str = "error",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._output: AtomicFile | None = None
        options = Options(floor, entropy_bits, sample, seed, codec, nonfinite, caller="Writer")
        output = AtomicFile(path)
        try:
            self._sink = Sink(output.file, options, False, metadata)
        except BaseException:
            output.discard()
            raise
        self._output = output

    def add(self, name: str, tensor: Tensor) -> None:
        """Compress `tensor` (any device, strides and dtype) and write it under `name`.

        ValueError for a name that is there already and for NaN and infinity; TypeError for tensors without memory of
        their own (sparse, meta, DTensor). After an error of the file itself (OSError) nothing more can be added, and
        `close` raises and leaves nothing behind.
        """
        self._open().tensor(_checked(name), tensor)

    def tie(self, name: str, to: str) -> None:
        """Enter `name` as another name of the tensor `to`, which was added before; loaded, both share memory."""
        sink = self._open()
        base = next((i for i, e in enumerate(sink.entries) if e.name == to and e.kind != ALIAS), None)
        if base is None:
            raise ValueError(f"Writer: there is no tensor {to!r} to tie {name!r} to")
        shape = sink.entries[base].shape
        sink.alias(_checked(name), base, sink.entries[base].dtype, shape, 0, torch.empty(shape, device="meta").stride())

    def close(self) -> None:
        """Write the directory, sync, and move the file to its place. Nothing happens the second time."""
        if self._output is None:
            return
        try:
            self._sink.finish()
            self._output.commit()
        except BaseException:
            self.abort()
            raise
        self._output = None

    def abort(self) -> None:
        """Give up: nothing is left behind, and a file that was there stays."""
        if self._output is not None:
            self._output.discard()
            self._output = None

    def _open(self) -> Sink:
        if self._output is None:
            raise ValueError("Writer: it is closed")
        return self._sink

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def __del__(self) -> None:
        if getattr(self, "_output", None) is not None:
            self.abort()


def _checked(name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"Writer: name must be a string, got {type(name).__name__}")
    return name

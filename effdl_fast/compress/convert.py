"""Containers from and to .safetensors files, one tensor in memory at a time."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from typing import Any, BinaryIO

import torch

from effdl_fast.compress._format import ALIAS, Entry, Progress
from effdl_fast.compress._memory import bytes_of, integers
from effdl_fast.compress._refused import RefusedType, RefusedValue
from effdl_fast.compress.reader import Container, limit, map_file
from effdl_fast.compress.writer import Writer
from effdl_fast.errors import CorruptDataError
from effdl_fast.files import AtomicFile

Path = str | os.PathLike[str]

_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint64: "U64", torch.uint32: "U32",
    torch.uint16: "U16", torch.uint8: "U8", torch.bool: "BOOL", torch.complex64: "C64", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2", torch.float8_e4m3fnuz: "F8_E4M3FNUZ", torch.float8_e5m2fnuz: "F8_E5M2FNUZ",
}  # fmt: skip
_METADATA = "__metadata__"


def from_safetensors(source: Path, target: Path, *, progress: Progress | None = None, **options: Any) -> None:
    """Write the tensors of a .safetensors file, in its order and with its metadata, as a container.

    progress: called with the bytes in memory of each tensor that is done. options: floor, entropy_bits, sample, seed,
    codec and nonfinite, as `compress` has them. `target` appears when it is whole. CorruptDataError if `source` is no
    .safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, framework="pt") as file:
            metadata = dict(sorted((file.metadata() or {}).items()))
            with Writer(target, metadata=metadata, **options) as writer:
                for name in file.offset_keys():
                    tensor = file.get_tensor(name)
                    writer.add(name, tensor)
                    if progress is not None:
                        progress(tensor.nbytes)
    except SafetensorError as error:
        raise CorruptDataError(f"{os.fspath(source)} is no .safetensors file: {error}") from error


def to_safetensors(
    source: Path, target: Path, *, progress: Progress | None = None, max_elements: int | None = None
) -> None:
    """Write the tensors and the metadata of a container as a .safetensors file, which appears when it is whole.

    Tied tensors are written once each, as .safetensors files cannot share memory, and count as often towards
    max_elements. TypeError for dtypes that such files lack, ValueError for the container of a lone tensor, which has no
    name. max_elements and errors: see `Reader`.
    """
    container = Container(memoryview(map_file(source)))
    limit(sum(e.elements for e in container.entries), max_elements)
    _check(container)
    groups = _in_order_of_alignment(container.entries)
    output = AtomicFile(target)
    try:
        output.file.write(_header([e for group in groups for e in group], container.directory.metadata))
        for group in groups:
            _write(output.file, container, group, progress or (lambda size: None))
        output.commit()
    except BaseException:
        output.discard()
        raise


def _check(container: Container) -> None:
    for e in container.entries:
        if e.dtype not in _NAMES:
            raise RefusedType(f"to_safetensors: tensor {e.name!r} is {str(e.dtype)[6:]}, which .safetensors files lack")
        if e.name == _METADATA or container.directory.single:
            what = "a lone tensor has no" if container.directory.single else f"{e.name!r} cannot be a"
            raise RefusedValue(f"to_safetensors: {what} name of a tensor in such a file")


def _in_order_of_alignment(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Each tensor with its aliases; larger elements first, so that all are aligned in the file, which has no gaps."""
    groups: dict[int, list[Entry]] = {}
    for i, e in enumerate(entries):
        groups.setdefault(e.size if e.kind == ALIAS else i, []).append(e)
    return sorted(groups.values(), key=lambda group: -group[0].dtype.itemsize)


def _write(file: BinaryIO, container: Container, group: Sequence[Entry], progress: Progress) -> None:
    base = container.tensor(container.base_of(group[0]), "cpu")
    for e in group:
        x = container.view(e, base) if e.kind == ALIAS else base
        file.write(bytes_of(integers(x).contiguous()))
        progress(e.nbytes)


def _header(entries: Sequence[Entry], metadata: dict[str, str]) -> bytes:
    table: dict[str, Any] = {_METADATA: metadata} if metadata else {}
    end = 0
    for e in entries:
        begin, end = end, end + e.nbytes
        table[e.name] = {"dtype": _NAMES[e.dtype], "shape": list(e.shape), "data_offsets": [begin, end]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text

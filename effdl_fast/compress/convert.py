"""Containers from and to .safetensors files, one tensor in memory at a time."""

from __future__ import annotations

import json
import os
import struct
from typing import Any

import torch

from effdl_fast.compress._format import Entry, Progress
from effdl_fast.compress._memory import bytes_of, integers
from effdl_fast.compress.reader import Reader
from effdl_fast.compress.writer import AtomicFile, Writer
from effdl_fast.errors import CorruptDataError

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

    Tied tensors are written once each, as .safetensors files cannot share memory. TypeError for dtypes that such files
    lack, ValueError for the container of a lone tensor, which has no name. max_elements and errors: see `Reader`.
    """
    with Reader(source, max_elements=max_elements) as reader:
        entries = _in_order_of_alignment(reader)
        output = AtomicFile(target)
        try:
            output.file.write(_header(entries, reader.metadata))
            for e in entries:
                output.file.write(bytes_of(integers(reader[e.name]).contiguous()))
                if progress is not None:
                    progress(e.nbytes)
            output.commit()
        except BaseException:
            output.discard()
            raise


def _in_order_of_alignment(reader: Reader) -> list[Entry]:
    """Larger elements first, so that all are aligned in the file without gaps, which it cannot have."""
    for e in reader.entries:
        if e.dtype not in _NAMES:
            raise TypeError(f"to_safetensors: tensor {e.name!r} is {str(e.dtype)[6:]}, which .safetensors files lack")
        if e.name == _METADATA or reader.single:
            what = "a lone tensor has no" if reader.single else f"{e.name!r} cannot be a"
            raise ValueError(f"to_safetensors: {what} name of a tensor in such a file")
    return sorted(reader.entries, key=lambda e: -e.dtype.itemsize)


def _header(entries: list[Entry], metadata: dict[str, str]) -> bytes:
    table: dict[str, Any] = {_METADATA: metadata} if metadata else {}
    end = 0
    for e in entries:
        begin, end = end, end + e.nbytes
        table[e.name] = {"dtype": _NAMES[e.dtype], "shape": list(e.shape), "data_offsets": [begin, end]}
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text

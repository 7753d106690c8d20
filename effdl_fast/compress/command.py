"""What `effdl compress`, `decompress` and `inspect` do; mistakes of the user are UserError with one line."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from effdl_fast.compress import convert
from effdl_fast.compress._format import Progress
from effdl_fast.compress._options import Options
from effdl_fast.compress._refused import Refused
from effdl_fast.compress.api import load, save
from effdl_fast.compress.inspection import Inspection, TensorInfo
from effdl_fast.compress.reader import Reader
from effdl_fast.errors import MissingFileError, UserError
from effdl_fast.files import AtomicFile

SUFFIX = ".efw"
SAFETENSORS = ".safetensors"
PLAUSIBLE_RATIO, PLAUSIBLE_BYTES = 1000, 1 << 30  # a file that holds more than both must be asked for explicitly
LEFT = 4  # columns of the table that are text
PICKLES = (".pt", ".pth", ".bin", ".ckpt")  # of torch.save


def require_input(path: Path) -> None:
    if not path.exists():
        raise MissingFileError(f"{path}: there is no such file")
    if not path.is_file():
        raise UserError(f"{path} is no file")


def output_of(source: Path, target: Path | None, suffix: str, force: bool) -> Path:
    """Where to write to. UserError if that is taken and `force` is not set, or cannot be written to."""
    target = target or source.with_suffix(suffix)
    if target.exists() and (not target.is_file() or os.path.samefile(source, target)):
        raise UserError(f"OUT: {target} is " + ("IN itself" if target.is_file() else "no file"))
    if target.exists() and not force:
        raise UserError(f"OUT: {target} exists; --force replaces it")
    if not target.absolute().parent.is_dir():
        raise MissingFileError(f"OUT: there is no folder {target.absolute().parent}")
    return target


@contextmanager
def _users_data() -> Iterator[None]:
    """What the library refuses in a user's file is the user's to mend; anything else is a defect."""
    try:
        yield
    except (OSError, Refused) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(str(error)) from error


def compress_file(source: Path, target: Path, progress: Progress, **options: Any) -> None:
    """A .safetensors or torch.save file as a container; progress as of `convert`."""
    try:
        Options(**options)
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    with _users_data():
        if source.suffix == SAFETENSORS:
            convert.from_safetensors(source, target, progress=progress, **options)
        elif source.suffix in PICKLES:
            save(target, _unpickled(source), progress=progress, **options)
        else:
            known = ", ".join((SAFETENSORS, *PICKLES))
            raise UserError(f"IN: {source} must end in one of {known}")


def _unpickled(path: Path) -> Any:
    """What torch.save wrote, tensors and plain containers only."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, KeyError) as error:
        raise UserError(f"{path} is damaged, or holds more than tensors; nothing is unpickled") from error


def decompress_file(source: Path, target: Path, progress: Progress, max_elements: int | None) -> None:
    """A container as a .safetensors or torch.save file; a file that says it holds very much only with max_elements."""
    stored, held = source.stat().st_size, original_bytes(source)
    if max_elements is None and held > PLAUSIBLE_BYTES and held > PLAUSIBLE_RATIO * stored:
        raise UserError(
            f"{source}: {count(stored)} bytes say that they hold {count(held)}; --max-elements with the number of "
            "elements that you expect makes them be decoded"
        )
    with _users_data():
        if target.suffix == SAFETENSORS:
            convert.to_safetensors(source, target, progress=progress, max_elements=max_elements)
        elif target.suffix in PICKLES:
            content = load(source, max_elements=max_elements, progress=progress)
            output = AtomicFile(target)
            try:
                torch.save(content, output.file)
                output.commit()
            except BaseException:
                output.discard()
                raise
        else:
            known = ", ".join((SAFETENSORS, *PICKLES))
            raise UserError(f"OUT: {target} must end in one of {known}")


def original_bytes(path: Path) -> int:
    """Of the tensors of a container, for the progress bar; tied ones as often as they occur."""
    with Reader(path) as reader:
        return sum(e.nbytes for e in reader.entries)


def count(n: int) -> str:
    return f"{n:,}"


def table(inspection: Inspection) -> str:
    """One line per tensor, then the totals."""
    rows: list[tuple[str, ...]] = [
        ("tensor", "shape", "dtype", "codec", "N", "bytes", "stored", "ratio", "bits/parameter", "largest error")
    ]
    rows += [_row(t) for t in inspection.tensors]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (c.ljust(w) if i < LEFT else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        lines.append("  ".join(cells).rstrip())
    lines += [f"{key}: {value}" for key, value in inspection.metadata.items()]
    return "\n".join([*lines, "", summary(inspection)])


def _row(t: TensorInfo) -> tuple[str, ...]:
    shape = "x".join(map(str, t.shape)) or "()"
    if t.tied_to is not None:
        tie = f"{t.codec}, tied to {t.tied_to}"
        return t.name, shape, str(t.dtype)[6:], tie, str(t.bits or ""), "0", "0", "", "", f"{t.max_error:.3g}"
    return (
        *(t.name, shape, str(t.dtype)[6:], t.codec, str(t.bits or ""), count(t.original_bytes), count(t.stored_bytes)),
        *(f"{t.ratio:.2f}", f"{t.bits_per_parameter:.2f}", f"{t.max_error:.3g}"),
    )


def summary(inspection: Inspection) -> str:
    return (
        f"{len(inspection.tensors)} tensors, {count(inspection.elements)} parameters, "
        f"{count(inspection.original_bytes)} bytes in {count(inspection.container_bytes)} "
        f"({count(inspection.overhead_bytes)} of them header, directory and padding): ratio {inspection.ratio:.2f}, "
        f"{inspection.bits_per_parameter:.2f} bits per parameter, largest error {inspection.max_error:.3g}"
    )


def to_json(inspection: Inspection) -> str:
    tensors = [
        {
            "name": t.name, "shape": t.shape, "dtype": str(t.dtype)[6:], "codec": t.codec, "bits": t.bits,
            "elements": t.elements, "original_bytes": t.original_bytes, "stored_bytes": t.stored_bytes,
            "ratio": t.ratio, "bits_per_parameter": t.bits_per_parameter, "step": t.step, "max_error": t.max_error,
            "tied_to": t.tied_to,
        }
        for t in inspection.tensors
    ]  # fmt: skip
    totals = {
        name: getattr(inspection, name)
        for name in ("elements", "original_bytes", "stored_bytes", "overhead_bytes", "container_bytes", "ratio",
                     "bits_per_parameter", "max_error", "metadata")
    }  # fmt: skip
    return json.dumps({**totals, "tensors": tensors}, indent=2)

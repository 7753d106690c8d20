"""Files of results: written atomically, read with an error that names the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from effdl_fast import files
from effdl_fast.errors import UserError


def require_folder(path: Path) -> None:
    """UserError unless `path` is a folder that can be written to, or can be made; to be called before the work."""
    existing = next(p for p in [path, *path.absolute().parents] if p.exists())
    if not existing.is_dir():
        raise UserError(f"{path}: results need a folder, but {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise UserError(f"{path}: results need a folder, but {existing} cannot be written to")


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, never a part; folders are made."""
    require_folder(path.parent)
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(path, content)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` for text, as UTF-8."""
    write_bytes(path, content.encode())


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON; NaN and infinity raise ValueError, as JSON has no such numbers."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON value in `path`. UserError, with the file's name, where it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged result file ({error}); delete it to run again") from error

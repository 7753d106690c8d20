"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path


class AtomicFile:
    """A new file beside `path` that takes its place, and its mode, on `commit` and is gone after `discard`.

    FileExistsError for a path that is there and is no regular file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.realpath(path))  # a link stays a link
        old = os.stat(self.path).st_mode if self.path.exists() else None
        if old is not None and not stat.S_ISREG(old):
            raise FileExistsError(errno.EEXIST, "it is there already and is no regular file", os.fspath(path))
        # Of the name only what leaves the whole below 255 bytes.
        self.temporary = self.path.with_name(f".{self.path.name[:50]}.{secrets.token_hex(6)}.tmp")
        self.file = open(self.temporary, "xb")  # noqa: SIM115
        if old is not None:
            with suppress(OSError):  # of file systems that have no modes
                os.chmod(self.temporary, old & 0o777)

    def commit(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        os.replace(self.temporary, self.path)
        if os.name == "posix":
            with suppress(OSError):  # the file is in its place, whatever comes now
                self._sync_folder()

    def _sync_folder(self) -> None:
        """The new name lasts only when the folder does."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        try:
            with suppress(OSError):  # what is still buffered may find the disk full
                self.file.close()
        finally:
            self.temporary.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    output = AtomicFile(path)
    try:
        output.file.write(content)
        output.commit()
    except BaseException:
        output.discard()
        raise

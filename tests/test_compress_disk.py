"""Containers on full disks, over files of any kind and name: the old file or the new one, and nothing between."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import effdl_fast as ef
from effdl_fast import compress as C
from effdl_fast import files as module

from ._compress import same_bits, weights

posix = pytest.mark.skipif(os.name != "posix", reason="limits, modes and special files")


def in_process(code, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(Path(ef.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=environment, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


FULL_DISK = """
import resource, signal, sys, torch
from effdl_fast import compress as C
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, way = sys.argv[1:]
state = {str(i): torch.arange(20) for i in range(30)}
C.save(path, {"old": torch.arange(3)})
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
try:
    if way == "save":
        C.save(path, state)
    else:
        with C.Writer(path) as writer:
            for name, x in state.items():
                writer.add(name, x)
except OSError as error:
    print(error.errno)
"""


@posix
@pytest.mark.parametrize("way", ["save", "Writer"])
def test_a_full_disk_leaves_the_old_file_and_nothing_else(way, tmp_path):
    assert in_process(FULL_DISK, tmp_path / "m", way).strip() == "27"  # EFBIG
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
    assert list(C.load(tmp_path / "m")) == ["old"]


class Failing(io.FileIO):
    """A disk that is full for one write, and has space again afterwards."""

    fails = False

    def write(self, data):
        if Failing.fails:
            Failing.fails = False
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_a_writer_whose_write_failed_never_replaces_a_good_file(tmp_path, monkeypatch):
    path = tmp_path / "m"
    C.save(path, {"old": weights(100)})
    before = path.read_bytes()
    monkeypatch.setattr(module, "open", lambda path, mode: Failing(path, mode), raising=False)
    writer = C.Writer(path)
    writer.add("a", torch.arange(100))
    Failing.fails = True
    with pytest.raises(OSError, match="No space left"):
        writer.add("b", torch.arange(1000))
    for more in (lambda: writer.add("c", torch.arange(3)), lambda: writer.tie("d", "a"), writer.close):
        with pytest.raises(OSError, match="Writer: an earlier write failed"):
            more()
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["m"]


def test_a_writer_goes_on_after_a_mistake(tmp_path):
    with C.Writer(tmp_path / "m") as writer:
        writer.add("a", weights(100))
        for name, x in (("a", weights(3)), ("b", torch.tensor([1.0, float("nan")])), ("\ud800", weights(3))):
            with pytest.raises(ValueError, match="Writer: "):
                writer.add(name, x)
        writer.add("b", torch.arange(3))
    assert same_bits(C.load(tmp_path / "m")["b"], torch.arange(3))


def test_text_that_utf8_cannot_hold(tmp_path):
    message = "must be Unicode text without lone surrogates, got 'a.udc80'"
    with pytest.raises(ValueError, match=f"compress: the name of a tensor {message}"):
        C.compress({"a\udc80": weights(3)})
    for metadata in ({"a\udc80": "b"}, {"b": "a\udc80"}):
        with pytest.raises(ValueError, match=f"save: metadata {message}"):
            C.save(tmp_path / "m", {}, metadata=metadata)
    assert list(tmp_path.iterdir()) == []


@posix
def test_only_regular_files_are_replaced(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(FileExistsError, match="is no regular file"):
            C.save(tmp_path / name, weights(3))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "pipe"]


@posix
def test_a_file_keeps_its_mode(tmp_path):
    path = tmp_path / "m"
    C.save(path, weights(3))
    for mode in (0o600, 0o664, 0o444):
        path.chmod(mode)
        C.save(path, weights(mode))
        assert path.stat().st_mode & 0o777 == mode and C.load(path).shape == (mode,)


@pytest.mark.parametrize("name", ["m" * 255, "ü" * 127])
def test_long_names(name, tmp_path):
    C.save(tmp_path / name, weights(3))
    assert [p.name for p in tmp_path.iterdir()] == [name]


@posix
def test_once_the_file_is_in_its_place_nothing_fails(tmp_path, monkeypatch):
    fsync, synced = os.fsync, []

    def refuse_folders(descriptor):
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(22, "Invalid argument")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    C.save(tmp_path / "m", weights(3))
    assert len(synced) == 2 and C.load(tmp_path / "m").shape == (3,)

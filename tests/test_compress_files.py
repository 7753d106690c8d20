"""Containers in files: ties, Writer, Reader, atomicity, memory maps."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import effdl_fast as ef
from effdl_fast import _C
from effdl_fast import compress as C

from ._compress import assert_round_trip, container, same_bits, weights


def memory_of(x):
    return x.untyped_storage().data_ptr()


# ---- ties ----


def ties_of(state):
    data = C.compress(state)
    inspection, back = C.inspect(data, verify=True), C.decompress(data)
    assert_round_trip(state, back, inspection)
    return {t.name: t.tied_to for t in inspection.tensors if t.tied_to is not None}, back


def test_tied_modules_stay_tied():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = torch.nn.Embedding(100, 16), torch.nn.Linear(16, 100)
            self.head.weight = self.embed.weight

    state = Model().state_dict()
    ties, back = ties_of(state)
    assert ties == {"head.weight": "embed.weight"}
    assert memory_of(back["head.weight"]) == memory_of(back["embed.weight"])
    back["embed.weight"][3, 4] = 7
    assert back["head.weight"][3, 4] == 7
    assert len(C.compress(state)) < len(C.compress({k: v.clone() for k, v in state.items()})) - 2000


def test_views_of_another_tensor_stay_views():
    w = weights(40, 30)
    state = {
        "rows": w[3:9],
        "transposed": w.t(),
        "w": w,
        "column": w[:, 7],
        "strided": w.t()[2:5, ::3],
        "flat": w.view(-1),
        "one": w[4, 5],
        "diagonal": w.diagonal(),
    }
    ties, back = ties_of(state)
    # "w" and "flat" are the same memory: the first of them is stored.
    assert set(ties) == set(state) - {"w"} and set(ties.values()) == {"w"}
    assert len({memory_of(x) for x in back.values()}) == 1
    for name, x in state.items():
        assert back[name].stride() == x.stride() and back[name].storage_offset() == x.storage_offset()


def test_equal_views_without_what_they_are_views_of():
    w = weights(40, 30)
    ties, back = ties_of({"a": w[:, :20], "b": w[:, :20], "c": w.t(), "d": w.t()})
    assert ties == {"b": "a", "d": "c"}
    assert memory_of(back["a"]) == memory_of(back["b"]) != memory_of(back["c"]) == memory_of(back["d"])


def test_a_flat_buffer_and_its_parts():
    flat = weights(1000)
    parts = {f"part{i}": flat[100 * i : 100 * i + 100].view(10, 10) for i in range(10)}
    ties, _ = ties_of({**parts, "flat": flat})
    assert ties == dict.fromkeys(parts, "flat")
    ties, _ = ties_of(parts)  # neighbours share a storage, but no element
    assert ties == {}


def test_what_is_not_tied():
    w = weights(40, 30)
    state = {
        "overlap1": w[:30],
        "overlap2": w[20:],
        "other dtype": w.view(torch.int32),
        "expanded": weights(1, seed=3).expand(50),
        "negated": torch._neg_view(w[:30]),
        "empty": w[:0],
        "copy": w[:30].clone(),
    }
    ties, _ = ties_of(state)
    assert ties == {}


def test_ties_of_integers_and_parameters():
    index, p = torch.arange(100), torch.nn.Parameter(weights(50, 10))
    ties, back = ties_of({"i": index, "j": index[10:20], "p": p, "q": p.detach()})
    assert ties == {"j": "i", "q": "p"} and memory_of(back["i"]) == memory_of(back["j"])


def test_many_parts_of_one_storage_take_little_time():
    flat = torch.zeros(60_000, dtype=torch.int64)
    ties, _ = ties_of({str(i): x for i, x in enumerate(flat.split(10))})
    assert ties == {}


# ---- Writer and Reader ----


def test_writer_and_reader(tmp_path):
    _, state = container()
    path = tmp_path / "m.efw"
    with C.Writer(path, floor=5, seed=3, metadata={"a": "b", "ü": ""}) as writer:
        for name in ("w", "steps", "flat", "h"):
            writer.add(name, state[name])
        writer.tie("again", "w")
        assert not path.exists()
    with C.Reader(path) as reader:
        assert list(reader.keys()) == list(reader) == ["w", "steps", "flat", "h", "again"] and len(reader) == 5
        assert reader.metadata == {"a": "b", "ü": ""}
        assert "w" in reader and "x" not in reader and reader.get("x") is None
        with pytest.raises(KeyError):
            reader["x"]
        assert same_bits(reader["again"], reader["w"]) and memory_of(reader["again"]) != memory_of(reader["w"])
        back = {name: reader[name] for name in state if name != "tied"}
    assert_round_trip({k: v for k, v in state.items() if k != "tied"}, back, C.inspect(path))
    assert C.inspect(path).metadata == {"a": "b", "ü": ""}
    loaded = C.load(path)
    assert memory_of(loaded["again"]) == memory_of(loaded["w"])
    with pytest.raises(ValueError, match="Reader: it is closed"):
        reader["w"]


def test_writer_writes_what_save_writes(tmp_path):
    state = {"a": weights(400), "b": torch.arange(7), "c": weights(30, 30, dtype=torch.float16)}
    C.save(tmp_path / "saved", state)
    with C.Writer(tmp_path / "written") as writer:
        for name, x in state.items():
            writer.add(name, x)
    assert (tmp_path / "saved").read_bytes() == (tmp_path / "written").read_bytes() == C.compress(state)


def test_writer_errors(tmp_path):
    path = tmp_path / "m"
    with C.Writer(path) as writer:
        writer.add("a", weights(3))
        with pytest.raises(ValueError, match="Writer: there is a tensor 'a' already"):
            writer.add("a", weights(3))
        with pytest.raises(ValueError, match="Writer: there is no tensor 'x' to tie 'b' to"):
            writer.tie("b", "x")
        with pytest.raises(TypeError, match="Writer: name must be a string, got int"):
            writer.add(3, weights(3))
        with pytest.raises(TypeError, match=r"Writer: tensor 'b' must be a torch\.Tensor, got list"):
            writer.add("b", [1.0])
        with pytest.raises(ValueError, match="Writer: tensor 'b' holds NaN"):
            writer.add("b", torch.full((3,), float("nan")))
        writer.add("b", torch.tensor(1.0))
    assert list(C.load(path)) == ["a", "b"]
    with pytest.raises(ValueError, match="Writer: it is closed"):
        writer.add("c", weights(3))
    writer.close()
    with pytest.raises(TypeError, match="Writer: metadata must be strings by strings"):
        C.Writer(path, metadata={"a": 1})
    with pytest.raises(FileNotFoundError):
        C.Writer(tmp_path / "absent" / "m")
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_one_tensor_is_read_without_the_others(tmp_path):
    """A flipped byte in one tensor does not keep another from being read, and shows when it is read itself."""
    data, state = container()
    entry = next(e for e in C.reader.Container(memoryview(data)).entries if e.name == "h")
    broken = bytearray(data)
    broken[entry.offset + 60] ^= 4
    (tmp_path / "m").write_bytes(broken)
    with C.Reader(tmp_path / "m") as reader:
        assert same_bits(reader["steps"], state["steps"]) and reader["w"].shape == (20, 12)
        with pytest.raises(ef.CorruptDataError, match="the checksum of 'h' does not fit"):
            reader["h"]
    C.inspect(tmp_path / "m")
    with pytest.raises(ef.CorruptDataError, match="the checksum of 'h' does not fit"):
        C.inspect(tmp_path / "m", verify=True)


def test_alignment(tmp_path):
    data, _ = container()
    entries = C.reader.Container(memoryview(data)).entries
    assert all(e.offset % 64 == 0 for e in entries if e.kind != 2)


# ---- files ----


@pytest.mark.parametrize("make", [lambda path: path.write_bytes(b""), lambda path: path.write_bytes(b"EFWC")])
def test_files_that_are_no_containers(make, tmp_path):
    make(tmp_path / "m")
    for read in (C.load, C.Reader, C.inspect):
        with pytest.raises(ef.CorruptDataError, match="container: "):
            read(tmp_path / "m")
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "absent")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "m"
    C.save(path, {"a": weights(100)})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="tensor 'b' holds NaN"):
        C.save(path, {"a": weights(5), "b": torch.full((3,), float("nan"))})
    with pytest.raises(RuntimeError, match="mine"), C.Writer(path) as writer:
        writer.add("a", weights(7))
        raise RuntimeError("mine")
    writer = C.Writer(path)
    writer.add("a", weights(7))
    del writer
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "m"
    C.save(path, {"a": weights(100)})
    before = path.read_bytes()
    code = (
        "import os, torch, effdl_fast as ef\n"
        f"writer = ef.compress.Writer({str(path)!r})\n"
        "writer.add('b', torch.arange(100000))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ef.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, timeout=120)
    assert done.returncode == -9 and path.read_bytes() == before
    assert sum(p.name.startswith(".m.") for p in tmp_path.iterdir()) == 1, "the unfinished file has a name of its own"


@pytest.mark.skipif(os.name != "posix", reason="file modes and links")
def test_mode_and_links(tmp_path):
    old = os.umask(0o027)
    try:
        C.save(tmp_path / "m", weights(3))
    finally:
        os.umask(old)
    assert (tmp_path / "m").stat().st_mode & 0o777 == 0o640
    (tmp_path / "link").symlink_to("m")
    C.save(tmp_path / "link", weights(5))
    assert (tmp_path / "link").is_symlink() and C.load(tmp_path / "m").shape == (5,)


def test_the_file_is_synced_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append("sync") or fsync(fd))
    monkeypatch.setattr(os, "replace", lambda a, b: calls.append("replace") or replace(a, b))
    C.save(tmp_path / "m", weights(3))
    assert calls[:2] == ["sync", "replace"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("codec", ["raw", "huffman"])
def test_streaming_holds_one_tensor_at_a_time(codec, tmp_path):
    """24 tensors of 8 MB pass through a Writer and a Reader whose process never grows by more than four of them."""
    code = (
        "import resource, sys, torch, effdl_fast as ef\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "make = lambda i: torch.randn(1 << 21, generator=torch.Generator().manual_seed(i))\n"
        "x = make(0); ef.compress.compress(x, codec=sys.argv[2]); before = peak()\n"
        "with ef.compress.Writer(sys.argv[1], codec=sys.argv[2]) as writer:\n"
        "    for i in range(24): writer.add(str(i), make(i))\n"
        "print(peak() - before)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(ef.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m"), codec], env=environment, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4 * 8
    with C.Reader(tmp_path / "m") as reader:
        assert len(reader) == 24 and reader["23"].shape == (1 << 21,)


def test_the_checksum_runs_compiled():
    _C.crc32c(bytes(64))
    assert _C.last_kernel().startswith("crc32c.")

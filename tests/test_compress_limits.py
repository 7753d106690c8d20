"""Containers of few bytes that stand for many, and what tied tensors and raw bytes may say."""

import struct

import pytest
import torch

from effdl_fast import _C
from effdl_fast import compress as C
from effdl_fast.compress import _format, convert, reader
from effdl_fast.compress._format import RECORD, Entry
from effdl_fast.errors import CorruptDataError

from ._compress import same_bits, weights


def constant(n, name="flat"):
    """A container of 48 bytes that stand for n elements, all checksums right."""
    record = struct.pack("<4sBBBBQddBBBBIQ", b"EFWR", 1, 1, 0, 0, n, 0.5, 0.5, 0, 0, 0, 0, 0, 0)
    entry = Entry(name, RECORD, torch.float32, (n,), 64, 48, _C.crc32c(record))
    return _format.header(False) + record.ljust(64, b"\0") + _format.ending([entry], {}, False, 128)


def test_a_constant_that_no_memory_holds(tmp_path):
    data = constant(2**57)
    (tmp_path / "m").write_bytes(data)
    for read in (
        lambda: C.decompress(data),
        lambda: C.load(tmp_path / "m"),
        lambda: C.Reader(tmp_path / "m")["flat"],
        lambda: C.to_safetensors(tmp_path / "m", tmp_path / "out"),
    ):
        with pytest.raises(CorruptDataError, match="no memory for a constant of 144115188075855872 elements"):
            read()
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


@pytest.fixture
def tied(tmp_path):
    """One tensor, of which a state dict holds 20 views; another one and its view in between."""
    w, b = weights(50, 40), weights(30, seed=1)
    state = {"first": w[3:5], "b": b, "w": w, "part": b[4:9], **{f"t{i}": w.t() for i in range(18)}, "last": w[:, 7]}
    C.save(tmp_path / "m", state)
    return tmp_path / "m", state


def test_tied_tensors_count_as_often_as_they_are_written(tied):
    pytest.importorskip("safetensors")
    path, state = tied
    written = sum(x.numel() for x in state.values())
    with pytest.raises(CorruptDataError, match=f"{written} elements, more than max_elements={written - 1}"):
        C.to_safetensors(path, path.parent / "out", max_elements=written - 1)
    assert not (path.parent / "out").exists()
    C.to_safetensors(path, path.parent / "out", max_elements=written)
    assert C.load(path, max_elements=2030).keys() == state.keys()


def test_tied_tensors_are_decoded_once(tied, monkeypatch):
    safetensors = pytest.importorskip("safetensors.torch")
    path, state = tied
    loaded, decoded = C.load(path), []
    decode = reader.Container.tensor
    monkeypatch.setattr(convert.Container, "tensor", lambda c, e, d: decoded.append(e.name) or decode(c, e, d))
    C.to_safetensors(path, path.parent / "out")
    assert sorted(decoded) == ["b", "w"]
    back = safetensors.load_file(path.parent / "out")
    assert back.keys() == state.keys() and all(same_bits(back[k], x) for k, x in loaded.items())


def test_tied_tensors_have_the_error_of_what_they_are_tied_to(tied):
    path, state = tied
    infos = {t.name: t for t in C.inspect(path).tensors}
    w, part = infos["w"], infos["first"]
    assert part.tied_to == "w" and part.shape == (2, 40) and part.elements == 80
    assert (part.codec, part.bits, part.step, part.dtype) == (w.codec, w.bits, w.step, w.dtype) and w.bits
    assert part.original_bytes == part.stored_bytes == 0 and part.max_error == w.max_error > 0
    assert float((C.load(path)["first"] - state["first"]).abs().max()) <= part.max_error * 1.001


def test_inspect_takes_data_by_that_name():
    assert C.inspect(data=C.compress(weights(3))).elements == 3


def test_raw_bools_are_0_or_1():
    x = torch.tensor([True, False, True])
    data = C.compress({"mask": x})
    assert torch.equal(C.decompress(data)["mask"], x)
    body = bytes([1, 2, 0]).ljust(64, b"\0")
    entry = Entry("mask", _format.RAW, torch.bool, (3,), 64, 3, _C.crc32c(body[:3]))
    forged = _format.header(False) + body + _format.ending([entry], {}, False, 128)
    with pytest.raises(CorruptDataError, match="'mask' is of dtype bool and holds other bytes than 0 and 1"):
        C.decompress(forged)


def test_codec_raw_keeps_nan_too():
    x = torch.tensor([1.0, float("nan")])
    assert same_bits(C.decompress(C.compress(x, codec="raw", nonfinite="error")), x)

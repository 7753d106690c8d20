"""`effdl compress`, `decompress` and `inspect`: files, figures and mistakes."""

from __future__ import annotations

import json

import pytest
import torch

pytest.importorskip("tqdm")
safetensors = pytest.importorskip("safetensors.torch")
typer_testing = pytest.importorskip("typer.testing")

import effdl_fast as ef
from effdl_fast import cli
from effdl_fast import compress as C

from ._compress import assert_round_trip, same_bits, weights
from .test_compress_limits import constant

runner = typer_testing.CliRunner()


@pytest.fixture
def state():
    return {
        "embed": weights(300, 64),
        "head.bias": torch.zeros(64),
        "half": weights(64, 64, dtype=torch.float16),
        "steps": torch.arange(10),
        "f8": torch.ones(3).to(torch.float8_e4m3fn),
    }


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments):
    result = runner.invoke(cli.app, list(arguments))
    assert result.exit_code == 0, result.output
    return result.output


def refused(*arguments, capsys):
    assert cli.main(list(arguments)) == cli.USER_ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("effdl: ")
    return line


def test_safetensors_there_and_back(folder, state):
    safetensors.save_file(state, "m.safetensors", metadata={"format": "pt", "epoch": "3"})
    output = run("compress", "m.safetensors", "--floor", "5")
    before, after = (folder / "m.safetensors").stat().st_size, (folder / "m.efw").stat().st_size
    assert f"{before:,} bytes" in output and f"{after:,} bytes" in output and f"({before / after:.2f} times" in output
    assert (folder / "m.efw").read_bytes()[:4] == b"EFWC"
    with safetensors.safe_open("m.safetensors", "pt") as file:
        order = file.offset_keys()
    assert list(C.load("m.efw")) == order
    assert_round_trip({k: state[k] for k in order}, C.load("m.efw"), C.inspect("m.efw"))
    assert C.compress(state["embed"], floor=5) != C.compress(state["embed"])
    assert (
        C.inspect("m.efw").tensors[order.index("embed")].bits
        == C.inspect(C.compress(state["embed"])).tensors[0].bits - 1
    )

    output = run("decompress", "m.efw", "back.safetensors")
    assert f"{(folder / 'back.safetensors').stat().st_size:,} bytes" in output
    back, loaded = safetensors.load_file("back.safetensors"), C.load("m.efw")
    assert back.keys() == state.keys() and all(same_bits(back[k], loaded[k]) for k in back)
    with safetensors.safe_open("back.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "epoch": "3"}
    assert sorted(p.name for p in folder.iterdir()) == ["back.safetensors", "m.efw", "m.safetensors"]


def test_the_safetensors_writer_aligns_its_tensors(folder):
    odd = {
        "a": torch.ones(3, dtype=torch.bool),
        "b": weights(5),
        "c": torch.ones(1, dtype=torch.int64),
        "ü": weights(2),
    }
    C.save("odd.efw", odd)
    C.to_safetensors("odd.efw", "odd.safetensors")
    back = safetensors.load_file("odd.safetensors")
    assert all(same_bits(back[k], odd[k]) for k in odd) and back.keys() == odd.keys()
    header = json.loads((folder / "odd.safetensors").read_bytes()[8:].split(b"}}")[0] + b"}}")
    size = {"BOOL": 1, "F32": 4, "I64": 8}
    assert all(h["data_offsets"][0] % size[h["dtype"]] == 0 for h in header.values())


def test_torch_files_there_and_back(state):
    tied = {**state, "embed2": state["embed"]}
    torch.save(tied, "m.pt")
    run("compress", "m.pt", "m.efw", "--codec", "rans", "--seed", "7")
    run("decompress", "m.efw", "back.pt")
    back, loaded = torch.load("back.pt", weights_only=True), C.load("m.efw")
    assert list(back) == list(tied) and all(same_bits(back[k], loaded[k]) for k in back)
    assert back["embed"].data_ptr() == back["embed2"].data_ptr()
    torch.save(weights(50, 50), "x.pth", _use_new_zipfile_serialization=False)
    run("compress", "x.pth")
    run("decompress", "x.efw", "x.pt")
    assert torch.equal(torch.load("x.pt", weights_only=True), C.load("x.efw"))


def test_the_bytes_are_those_of_the_library(folder, state):
    torch.save(state, "m.pt")
    run("compress", "m.pt")
    assert (folder / "m.efw").read_bytes() == C.compress(state)


def test_inspect(state):
    C.save("m.efw", {**state, "tied": state["embed"]}, metadata={"epoch": "3"})
    output = run("inspect", "m.efw", "--verify")
    inspection = C.inspect("m.efw")
    for t in inspection.tensors:
        (line,) = [line for line in output.splitlines() if line.split()[:1] == [t.name]]
        assert "x".join(map(str, t.shape)) in line and str(t.dtype)[6:] in line
        assert t.codec in line and f"{t.stored_bytes:,}" in line
    assert "tied to embed" in output and "epoch: 3" in output
    assert f"{inspection.container_bytes:,}" in output and f"ratio {inspection.ratio:.2f}" in output
    facts = json.loads(run("inspect", "m.efw", "--json"))
    assert facts["container_bytes"] == inspection.container_bytes and facts["metadata"] == {"epoch": "3"}
    assert [t["max_error"] for t in facts["tensors"]] == [t.max_error for t in inspection.tensors]


def test_nothing_is_overwritten_without_force(folder, state, capsys):
    safetensors.save_file(state, "m.safetensors")
    (folder / "m.efw").write_text("kept")
    assert "OUT: m.efw exists; --force" in refused("compress", "m.safetensors", capsys=capsys)
    assert (folder / "m.efw").read_text() == "kept"
    run("compress", "m.safetensors", "--force")
    before = (folder / "m.safetensors").read_bytes()
    assert "OUT: m.safetensors exists; --force" in refused("decompress", "m.efw", capsys=capsys)
    assert (folder / "m.safetensors").read_bytes() == before
    run("decompress", "m.efw", "--force")
    assert safetensors.load_file("m.safetensors").keys() == state.keys()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compress", "absent.pt"], "absent.pt: there is no such file"),
        (["compress", "."], ". is no file"),
        (["compress", "m.safetensors", "absent/m.efw"], "OUT: there is no folder"),
        (["compress", "m.safetensors", "m.safetensors", "--force"], "OUT: m.safetensors is IN itself"),
        (["compress", "m.safetensors", ".", "--force"], "OUT: . is no file"),
        (["compress", "text.txt"], "IN: text.txt must end in one of .safetensors, .pt, .pth, .bin, .ckpt"),
        (["compress", "text.pt"], "text.pt is damaged, or holds more than tensors; nothing is unpickled"),
        (["compress", "text.safetensors"], "text.safetensors is no .safetensors file"),
        (["compress", "module.pt"], "module.pt is damaged, or holds more than tensors; nothing is unpickled"),
        (["compress", "nested.pt"], "tensor 'model' must be a torch.Tensor, got dict"),
        (["compress", "nan.safetensors"], "tensor 'bad' holds NaN or infinity (nonfinite='raw' keeps"),
        (["compress", "nan.pt"], "tensor 'bad' holds NaN or infinity (nonfinite='raw' keeps"),
        (["compress", "m.safetensors", "--codec", "zip"], "codec must be one of"),
        (["compress", "m.safetensors", "--floor", "nan"], "floor must be finite"),
        (["compress", "m.safetensors", "--entropy-bits", "17"], "entropy_bits must be from 1 to 16, got 17"),
        (["decompress", "absent.efw"], "absent.efw: there is no such file"),
        (["decompress", "m.safetensors", "x.pt"], "container: it does not begin as one"),
        (["decompress", "short.efw", "x.pt"], "container: it is truncated"),
        (["decompress", "good.efw", "x.txt"], "OUT: x.txt must end in one of"),
        (["decompress", "good.efw", "x.safetensors"], "to_safetensors: tensor 'c' is complex32, which"),
        (["decompress", "lone.efw", "x.safetensors"], "to_safetensors: a lone tensor has no name"),
        (["decompress", "lone.efw", "x.pt", "--max-elements", "99"], "100 elements, more than max_elements=99"),
        (["inspect", "absent.efw"], "absent.efw: there is no such file"),
        (["inspect", "text.pt"], "container: 5 bytes are too few"),
        (["inspect", "flipped.efw", "--verify"], "container: the checksum of 'a' does not fit"),
    ],
)
def test_mistakes(arguments, message, folder, state, capsys):
    safetensors.save_file(state, "m.safetensors")
    bad = {"good": weights(10), "bad": torch.tensor([1.0, float("nan")])}
    safetensors.save_file(bad, "nan.safetensors")
    torch.save(bad, "nan.pt")
    torch.save({"model": state, "epoch": 3}, "nested.pt")
    torch.save(torch.nn.Linear(2, 2), "module.pt")
    for name in ("text.txt", "text.pt", "text.safetensors"):
        (folder / name).write_text("hello")
    C.save("good.efw", {"a": weights(100), "c": torch.zeros(12, dtype=torch.uint8).view(torch.complex32)})
    C.save("lone.efw", weights(100))
    data = bytearray((folder / "good.efw").read_bytes())
    (folder / "short.efw").write_bytes(data[:-1])
    data[100] ^= 1
    (folder / "flipped.efw").write_bytes(data)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert message in refused(*arguments, capsys=capsys)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


@pytest.mark.parametrize("target", ["x.safetensors", "x.pt"])
def test_few_bytes_that_stand_for_many(target, folder, capsys):
    """Not without --max-elements; with it, what there is no memory for is still one line."""
    n = 2**57
    (folder / "huge.efw").write_bytes(constant(n))
    line = refused("decompress", "huge.efw", target, capsys=capsys)
    assert f"bytes say that they hold {4 * n:,}; --max-elements" in line
    line = refused("decompress", "huge.efw", target, "--max-elements", "1000", capsys=capsys)
    assert f"{n} elements, more than max_elements=1000" in line
    line = refused("decompress", "huge.efw", target, "--max-elements", str(n), capsys=capsys)
    assert f"no memory for a constant of {n} elements" in line
    assert [p.name for p in folder.iterdir()] == ["huge.efw"]


@pytest.mark.parametrize("kind", [TypeError, ValueError, RuntimeError])
@pytest.mark.parametrize("message", ["a defect", "save: a defect"])
def test_defects_are_not_taken_for_mistakes(kind, message, state, monkeypatch):
    def broken(*arguments, **options):
        raise kind(message)

    torch.save(state, "m.pt")
    monkeypatch.setattr(ef.ops, "compress_weights", broken)
    with pytest.raises(kind, match="a defect"):
        cli.main(["compress", "m.pt"])


def test_nonfinite_raw():
    torch.save({"bad": torch.tensor([1.0, float("nan")])}, "nan.pt")
    run("compress", "nan.pt", "--nonfinite", "raw")
    assert C.load("nan.efw")["bad"].isnan().tolist() == [False, True]

"""The format is frozen: every backend writes the bytes of tests/golden, and reads them back."""

import pytest
import torch

from effdl_fast import _C, ops
from effdl_fast.testing.backends import forced

from . import _golden
from ._golden import FOLDER, GOLDEN, PACKED, RECORDS, STREAMS, data_of, digest, index, path_of

OP = "decompress_weights"  # whose backends are every SIMD level and device, for all dtypes
INDEX = index()
CODECS = ("raw", "constant", "fixed", "huffman", "rans")


def golden_bytes(golden, device="cpu"):
    data = path_of(golden).read_bytes()
    return torch.tensor(list(data), dtype=torch.uint8, device=device)


def kernel_of(op, backend, dtype):
    """float64 is computed in float64 whatever the SIMD level."""
    return f"{op}.f64" if dtype is torch.float64 and backend.device.type == "cpu" else f"{op}.{backend.kernel}"


def test_every_golden_file_is_tested():
    names = {golden.name for golden in GOLDEN}
    assert len(names) == len(GOLDEN)
    assert {p.name for p in FOLDER.iterdir()} == {f"{name}.bin" for name in names} | {"index.json"}
    assert set(INDEX) == names
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 60_000


def test_golden_files_are_never_overwritten(monkeypatch, tmp_path):
    monkeypatch.setattr(_golden, "FOLDER", tmp_path)
    monkeypatch.setattr(_golden, "INDEX", tmp_path / "index.json")
    monkeypatch.setattr(_golden, "GOLDEN", RECORDS[:2])
    old = path_of(RECORDS[0])
    old.write_bytes(b"old")
    _golden.main()
    assert old.read_bytes() == b"old" and path_of(RECORDS[1]).stat().st_size > 48
    path_of(RECORDS[1]).write_bytes(b"known")
    _golden.main()
    assert path_of(RECORDS[1]).read_bytes() == b"known"


def test_the_records_cover_codecs_dtypes_and_lanes():
    seen, lanes = set(), set()
    for golden in RECORDS:
        codec, dtype, _, n, *_ = _C.weights_header(path_of(golden).read_bytes())
        seen.add((CODECS[codec], dtype))
        if codec >= 3:
            lanes.add((CODECS[codec], n < 4096, min(-(-n // 32768), 3)))
        word = golden.name.split("_")[0]
        assert word not in CODECS or word == CODECS[codec], f"{golden.name} is {CODECS[codec]}"
    assert seen == {(codec, dtype) for codec in CODECS for dtype in range(4)}
    assert lanes == {(c, *rest) for c in CODECS[3:] for rest in ((True, 1), (False, 1), (False, 2), (False, 3))}


@pytest.mark.parametrize("golden", RECORDS, ids=str)
def test_record_is_written(golden, backend):
    x = golden.input().to(backend.device)
    with forced(backend, None):
        record = ops.compress_weights(x, **golden.options)
        assert _C.last_kernel() == kernel_of("compress_weights", backend, golden.dtype)
    assert torch.equal(record.cpu(), golden_bytes(golden))


@pytest.mark.parametrize("golden", RECORDS, ids=str)
def test_record_is_read(golden, backend):
    with forced(backend, "decompress_weights"):
        values = ops.decompress_weights(golden_bytes(golden, backend.device))
    assert values.dtype is golden.dtype and values.shape == (golden.n,)
    assert digest(values) == INDEX[golden.name]["values"]


@pytest.mark.parametrize("golden", RECORDS, ids=str)
def test_record_by_the_reference(golden):
    record = golden_bytes(golden)
    assert torch.equal(ops.compress_weights_ref(golden.input(), **golden.options), record)
    assert digest(ops.decompress_weights_ref(record)) == INDEX[golden.name]["values"]


@pytest.mark.parametrize("golden", STREAMS, ids=str)
def test_huffman_stream(golden, backend):
    codes, expected = golden.input().to(backend.device), INDEX[golden.name]
    with forced(backend, None):
        lengths = ops.huffman_lengths(ops.histogram(codes, golden.bins), golden.limit)
    with forced(backend, "huffman_encode"):
        stream = ops.huffman_encode(codes, lengths)
    assert data_of(lengths).hex() == expected["lengths"]
    assert stream.sizes.tolist() == expected["sizes"]
    assert torch.equal(stream.payload.cpu(), golden_bytes(golden))
    with forced(backend, "huffman_decode"):
        back = ops.huffman_decode(stream._replace(payload=golden_bytes(golden, backend.device)))
    assert back.dtype is codes.dtype and back.tolist() == codes.tolist()


@pytest.mark.parametrize("golden", PACKED, ids=str)
def test_packed_bits(golden, backend):
    codes = golden.input().to(backend.device)
    with forced(backend, "pack_bits"):
        packed = ops.pack_bits(codes, golden.bits)
    assert torch.equal(packed.cpu(), golden_bytes(golden))
    with forced(backend, "unpack_bits"):
        back = ops.unpack_bits(golden_bytes(golden, backend.device), golden.bits, golden.n)
    assert back.dtype is codes.dtype and back.tolist() == codes.tolist()

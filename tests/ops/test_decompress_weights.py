"""decompress_weights on every backend: the values of a record, and that it trusts nothing."""

import functools
import mmap
import struct

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from effdl_fast import CorruptDataError, ops
from effdl_fast.ops import compress_weights_ref
from effdl_fast.testing.backends import forced

from ._records import altered, header
from ._weights import *  # noqa: F403
from ._weights import assert_same

OP = "decompress_weights"
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
CODECS = ("raw", "fixed", "huffman", "rans", "constant")


@functools.cache
def weights(n, dtype=torch.float32, codec="huffman"):
    """Peaked, so that an entropy code pays even for few."""
    x = torch.randn(n, generator=torch.Generator().manual_seed(n)) ** 5 * 0.05
    return (torch.full_like(x, 0.25) if codec == "constant" else x).to(dtype)


@functools.cache
def record(n, codec="huffman", dtype=torch.float32, bits=4, device="cpu"):
    """A record that really is of this codec."""
    x = weights(n, dtype, codec)
    r = compress_weights_ref(x, codec="fixed" if codec == "constant" else codec, bits=bits)
    assert header(r)["codec"] == codec
    return r.to(device)


@functools.cache
def wanted(n, codec, source, dtype, device):
    """The reference's values in this dtype."""
    return compute(ops.decompress_weights_ref, record(n, codec, source, device=device), dtype)


def compute(function, data, dtype):
    return function(data, out=torch.empty(header(data)["n"], dtype=dtype, device=data.device))


def refused(function, data):
    try:
        return function(data), False
    except CorruptDataError:
        return None, True


# ---- values ----


@pytest.mark.parametrize("codec", CODECS)
def test_every_pair_of_dtypes(op, backend, codec):
    for source in FLOATS:
        data = record(4999, codec, source, device=backend.device)
        for dtype in FLOATS:
            with forced(backend, op.name):
                out = compute(op.run, data, dtype)
            assert_same(out, wanted(4999, codec, source, dtype, backend.device), f"{source} to {dtype}")
        assert_same(op.run(data), wanted(4999, codec, source, source, backend.device))


def test_into_a_tensor_of_any_shape(op, backend):
    data = record(6000, device=backend.device)
    memory = torch.zeros(6002, device=backend.device)
    out = memory[1:-1].view(20, 300)
    version = out._version
    with forced(backend, op.name):
        assert op.run(data, out=out) is out
    assert_same(out.flatten(), op.ref(data))
    assert memory[0] == memory[-1] == 0
    assert out._version > version  # autograd must see that it changed


def test_into_a_parameter(op, backend):
    data = record(200, device=backend.device)
    out = torch.nn.Parameter(torch.zeros(10, 20, device=backend.device))
    for function in (op.run, op.ref):
        with pytest.raises(ValueError, match="decompress_weights: out requires grad"):
            function(data, out=out)
    with torch.no_grad():
        assert op.run(data, out=out) is out
    assert_same(out.detach().flatten(), op.ref(data))


def test_wide_ranges(op, backend):
    for dtype, scale in ((torch.float32, 3.4e38), (torch.float32, 2.0**-140), (torch.float64, 1e307)):
        x = (torch.randn(1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) / 5).clamp(-1, 1)
        for codec in ("fixed", "huffman", "rans"):
            data = compress_weights_ref((x * scale).to(dtype), codec=codec, bits=7).to(backend.device)
            for out in FLOATS:
                assert_same(compute(op.run, data, out), compute(op.ref, data, out))


def test_bytes_of_any_kind(op):
    data = record(1000)
    raw = bytes(data.tolist())
    values = op.ref(data)
    with mmap.mmap(-1, len(raw)) as memory:
        memory[:] = raw
        for source in (raw, bytearray(raw), memoryview(raw), memory, memoryview(b"x" + raw)[1:]):
            assert_same(op.run(source), values)
            assert_same(op.ref(source), values)
            out = torch.empty(1000, dtype=torch.float16)
            assert_same(op.run(source, out=out), values.half())
    for wrong in ("text", 3, None, [1, 2]):
        with pytest.raises(TypeError):
            op.run(wrong)


def test_unaligned_and_strided_data(op, backend):
    for codec in CODECS:
        data = record(1000, codec, device=backend.device)
        for shift in (1, 2, 3):
            shifted = torch.cat([data[:shift], data])[shift:]
            with forced(backend, op.name):
                assert_same(op.run(shifted), op.ref(data))
        assert_same(op.run(torch.stack((data, data), 1)[:, 1]), op.ref(data))


# ---- corrupt records ----


@pytest.mark.parametrize("codec", CODECS)
def test_every_prefix_and_trailing_bytes(op, backend, codec):
    data = record(200, codec, device=backend.device)
    for size in range(data.numel()):
        with pytest.raises(CorruptDataError, match="decompress_weights: "):
            op.run(data[:size])
    for function in (op.run, op.ref):
        with pytest.raises(CorruptDataError, match="decompress_weights: "):
            function(torch.cat([data, data[:1]]))
        with pytest.raises(CorruptDataError, match="decompress_weights: "):
            function(b"")


@pytest.mark.parametrize("codec", CODECS)
def test_every_flipped_bit_of_a_small_record(op, backend, codec):
    """Refused, or decoded to what the reference decodes it to: never anything else."""
    data = record(200 if codec in ("huffman", "rans") else 9, codec, bits=4, device=backend.device)
    for i in range(data.numel()):
        for bit in range(8) if i < 48 and backend.name == "scalar" else (i % 8,):
            flipped = data.clone()
            flipped[i] ^= 1 << bit
            if i in range(8, 16) and codec == "constant":
                continue  # another number of elements is another record, and possibly a very large one
            expected, bad = refused(op.ref, flipped)
            ours, refuses = refused(op.run, flipped)
            assert refuses == bad, f"byte {i}, bit {bit}: the reference {'refuses' if bad else 'accepts'} it"
            if not bad:
                assert_same(ours, expected)


HEADERS = {
    "magic": ("huffman", {"magic": b"EFWX"}),
    "version": ("huffman", {"version": 2}),
    "codec": ("huffman", {"codec": 5}),
    "dtype": ("huffman", {"dtype": 4}),
    "reserved byte": ("fixed", {"zero": 1}),
    "no bits": ("fixed", {"bits": 0}),
    "too many bits": ("fixed", {"bits": 17}),
    "bits of a raw tensor": ("raw", {"bits": 1}),
    "range of a raw tensor": ("raw", {"lo": 1.0, "hi": 1.0}),
    "raw range of -0": ("raw", {"lo": -0.0}),
    "range of a constant": ("constant", {"hi": 0.5}),
    "constant of -0": ("constant", {"lo": -0.0, "hi": -0.0}),
    "constant of nothing": ("constant", {"n": 0}),
    "NaN": ("huffman", {"lo": float("nan")}),
    "infinity": ("huffman", {"hi": float("inf")}),
    "infinite constant": ("constant", {"lo": float("inf"), "hi": float("inf")}),
    "backward range": ("huffman", {"lo": 1.0, "hi": -1.0}),
    "empty range": ("huffman", {"lo": 1.0, "hi": 1.0}),
    "range that float32 has not": ("fixed", {"lo": -0.1}),
    "range that float16 has not": ("fixed", {"dtype": 2, "lo": -1.0, "hi": 1.0 + 2**-20}),
    "range that bfloat16 has not": ("fixed", {"dtype": 3, "lo": -1.0, "hi": 1.0 + 2**-20}),
    "range that float64 cannot divide": ("fixed", {"dtype": 1, "lo": -1.7e308, "hi": 1.7e308}),
    "one element more": ("huffman", {"n": 201}),
    "one element fewer": ("huffman", {"n": 199}),
    "far more elements": ("huffman", {"n": 2**40}),
    "as many elements as 64 bits hold": ("huffman", {"n": 2**64 - 1}),
    "raw elements beyond 64 bits": ("raw", {"n": 2**62, "payload": 0}),
    "fixed elements beyond 64 bits": ("fixed", {"n": 2**63, "bits": 16, "payload": 0}),
    "chunk size": ("huffman", {"chunk": 14}),
    "chunk size of fixed": ("fixed", {"chunk": 15}),
    "smallest length 0": ("huffman", {"smallest": 0}),
    "smallest length too large": ("huffman", {"smallest": 17}),
    "another smallest length": ("huffman", {"smallest": 3}),
    "no width": ("huffman", {"width": 0}),
    "width": ("huffman", {"width": 6}),
    "lengths of rans": ("rans", {"smallest": 1}),
    "codebook": ("huffman", {"codebook": 0}),
    "codebook of fixed": ("fixed", {"codebook": 4}),
    "huge codebook": ("rans", {"codebook": 2**32 - 4}),
    "payload": ("huffman", {"payload": 2**63}),
    "codebook and payload that wrap around": ("rans", {"codebook": 2**32 - 4, "payload": 2**64 - 2**32 + 100}),
}


@pytest.mark.parametrize(("codec", "fields"), HEADERS.values(), ids=HEADERS)
def test_headers(op, backend, codec, fields):
    data = altered(record(200, codec, bits=4, device=backend.device), **fields)
    for function in (op.run, op.ref):
        with pytest.raises(CorruptDataError, match="decompress_weights: "):
            function(data)


def test_directory(op, backend):
    data = record(2 * 32768 + 50, bits=4, device=backend.device)
    book = struct.unpack("<I", bytes(data[36:40].tolist()))[0]
    at = 48 + book
    sizes = struct.unpack("<3I", bytes(data[at : at + 12].tolist()))
    for wrong in ((sizes[0] + 2, sizes[1] - 2, sizes[2]), (sizes[0] + sizes[1], 0, sizes[2]), (2**32 - 2, 2, 2),
                  (sizes[0] - 1, sizes[1] + 1, sizes[2])):  # fmt: skip
        other = data.clone()
        other[at : at + 12] = torch.tensor(list(struct.pack("<3I", *wrong)), dtype=torch.uint8)
        for function in (op.run, op.ref):
            with pytest.raises(CorruptDataError):
                function(other)


@pytest.mark.parametrize("codec", ["fixed", "huffman", "rans"])
def test_unused_bits_are_zero(op, backend, codec):
    """After packed codes, after the lengths, and after the marks of the symbols that have frequencies."""
    data = record(9 if codec == "fixed" else 1000, codec, bits=3 if codec == "fixed" else 2, device=backend.device)
    at = {"fixed": -1, "huffman": 48 + 3, "rans": 48}[codec]
    assert data[at] < 128
    other = data.clone()
    other[at] |= 128
    for function in (op.run, op.ref):
        with pytest.raises(CorruptDataError):
            function(other)


def test_random_payloads(op, backend):
    generator = torch.Generator().manual_seed(0)
    for codec in ("huffman", "rans"):
        for n in (1000, 5000):
            data = record(n, codec, bits=6, device=backend.device)
            for _ in range(5):
                other = data.clone()
                other[-n // 8 :] = torch.randint(256, (n // 8,), generator=generator).to(data)
                ours, bad = refused(op.run, other)
                assert bad == refused(op.ref, other)[1]
                assert bad or ours.isfinite().all()


# ---- memory ----


def constant(n, device):
    """48 bytes that stand for n elements."""
    header = struct.pack("<4sBBBBQddBBBBIQ", b"EFWR", 1, 1, 0, 0, n, 0.5, 0.5, 0, 0, 0, 0, 0, 0)
    return torch.tensor(list(header), dtype=torch.uint8, device=device)


def test_max_elements(op, backend, monkeypatch):
    data = record(3000, device=backend.device)
    for function in (op.run, op.ref):
        assert_same(function(data, max_elements=3000), op.ref(data))
        out = torch.empty(3000, device=backend.device)
        assert function(data, out=out, max_elements=3000) is out
        for more in ({}, {"out": out}):
            with pytest.raises(CorruptDataError, match="weights: 3000 elements are more than max_elements=2999"):
                function(data, max_elements=2999, **more)
        with pytest.raises(TypeError, match="decompress_weights: max_elements must be an integer, got float"):
            function(data, max_elements=3.0)
        with pytest.raises(ValueError, match="decompress_weights: max_elements must be from 0"):
            function(data, max_elements=-1)
    monkeypatch.setattr(torch, "empty", lambda *a, **k: pytest.fail("memory was asked for"))
    with pytest.raises(CorruptDataError, match="more than max_elements=1000"):
        op.run(constant(2**40, backend.device), max_elements=1000)


@pytest.mark.parametrize("n", [2**57, 2**62])
def test_a_constant_that_no_memory_holds(op, backend, n):
    """More than a process can address, and more than can be counted in bytes."""
    for function in (op.run, op.ref):
        with pytest.raises(CorruptDataError, match=f"decompress_weights: no memory for a constant of {n} elements"):
            function(constant(n, backend.device))


# ---- errors ----


def test_out(op):
    data = record(200)
    for function in (op.run, op.ref):
        with pytest.raises(ValueError, match=r"decompress_weights: out must have 200 elements, got"):
            function(data, out=torch.empty(199))
        with pytest.raises(
            ValueError, match=r"decompress_weights: out must be contiguous, got strides \(2,\) for shape"
        ):
            function(data, out=torch.empty(400)[::2])
        with pytest.raises(TypeError, match="out must be float32, float64, float16 or bfloat16, got int64"):
            function(data, out=torch.empty(200, dtype=torch.int64))
        with pytest.raises(TypeError, match=r"decompress_weights: out must be a torch\.Tensor, got list"):
            function(data, out=[])
        with pytest.raises(ValueError, match="decompress_weights: out must be on the device of data, cpu, got meta"):
            function(data, out=torch.empty(200, device="meta"))
        with pytest.raises(ValueError, match="decompress_weights: out must be on the CPU for data that is no tensor"):
            function(bytes(data.tolist()), out=torch.empty(200, device="meta"))


def test_data(op):
    data = record(200)
    for function in (op.run, op.ref):
        with pytest.raises(TypeError, match="decompress_weights: data must be uint8, got int8"):
            function(data.to(torch.int8))
        with pytest.raises(ValueError, match=r"decompress_weights: data must have one dimension, got shape \(1, \d+\)"):
            function(data[None])


# ---- inside PyTorch ----


def test_opcheck_into_a_tensor(op, backend):
    data = record(200, device=backend.device)
    arguments = (data, torch.zeros(200, device=backend.device))
    torch.library.opcheck(torch.ops.effdl_fast.decompress_weights_out.default, arguments)


def test_compile_needs_out(op, backend):
    data = record(200, device=backend.device)
    torch._dynamo.reset()

    def step(data, out):
        return op.run(data, out=out) * 2

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    with forced(backend, op.name):
        result = compiled(data, torch.empty(200, device=backend.device))
    assert_same(result, op.ref(data) * 2)
    with FakeTensorMode() as mode, pytest.raises(TypeError, match="decompress_weights: out is needed while tracing"):
        op.run(mode.from_tensor(data))

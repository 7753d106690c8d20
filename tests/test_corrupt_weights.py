"""Records that are truncated or altered: CorruptDataError, or a tensor of the right size, and the same at every SIMD
level; nothing outside of the record is read."""

import contextlib
import mmap
import random
import sys
import threading

import pytest
import torch

from effdl_fast import _C, ops
from effdl_fast.errors import CorruptDataError
from effdl_fast.ops import HuffmanStream
from effdl_fast.testing.backends import forced, simd

from ._corrupt import GOLDEN, Twice, decoded, flipped, forged, guarded, header, same_bits, tensor
from ._golden import STREAMS, index, path_of

OP = "decompress_weights"
LEVELS = _C.build_info()["simd_levels"]
SMALL = 500  # bytes of records of which every byte is altered
FLIPS = (0x01, 0x80, 0xFF)


def positions(data, every):
    """All of the header and the end, and some in between."""
    return range(len(data)) if len(data) <= SMALL else [*range(64), *range(64, len(data) - 8, every), *range(-8, 0)]


@pytest.mark.parametrize("name", GOLDEN)
def test_every_prefix(name, backend):
    data = GOLDEN[name]
    _, dtype, _, n = header(data)
    out = torch.empty(n, dtype=dtype, device=backend.device)
    for size in positions(data, len(data) // 50 + 1):
        prefix = data[:size]
        with simd(backend.simd), pytest.raises(CorruptDataError, match=r"^decompress_weights: "):
            ops.decompress_weights(tensor(prefix, backend.device), out=out)
        with pytest.raises(CorruptDataError, match=r"^decompress_weights: "):
            ops.decompress_weights(prefix)


@pytest.mark.parametrize("name", GOLDEN)
def test_every_byte(name, backend):
    data = GOLDEN[name]
    _, dtype, _, n = header(data)
    both = Twice(n, dtype, backend)
    assert both.decode(data)
    torch.set_num_threads(1)  # waiting for another thread takes longer than decoding; test_random_damage has them
    for position in positions(data, len(data) // 80 + 1):
        for bits in FLIPS:
            both.decode(flipped(data, position, bits))


@pytest.mark.parametrize("name", ["huffman_float16", "rans_bfloat16", "fixed_7_bits", "fixed_two_values", "raw_float16",
                                  "constant_bfloat16", "constant_float64", "empty_float64"])  # fmt: skip
def test_altered_headers_by_the_reference(name):
    """The reference and the kernels refuse the same records."""
    data = GOLDEN[name]
    _, dtype, _, n = header(data)
    out = torch.empty(n, dtype=dtype)
    for position in range(min(len(data), 80)):
        for bits in (0x01, 0x40, 0x80):
            altered = flipped(data, position, bits)
            try:
                expected = ops.decompress_weights_ref(tensor(altered), out=torch.empty(n, dtype=dtype))
            except ValueError:
                expected = None
            assert decoded(altered, out) == (expected is not None), (position, bits)
            assert expected is None or same_bits(expected, out)


@pytest.mark.parametrize("name", ["huffman_many_lanes", "huffman_three_chunks", "rans_many_lanes", "rans_two_chunks",
                                  "fixed_7_bits", "huffman_12_bits"])  # fmt: skip
def test_random_damage(name, backend):
    """Several bytes at once, bytes cut out, doubled or swapped in the middle."""
    data = GOLDEN[name]
    _, dtype, _, n = header(data)
    both, rng = Twice(n, dtype, backend), random.Random(name)
    for _ in range(60):
        altered = bytearray(data)
        for _ in range(rng.choice((1, 2, 8))):
            at, length = rng.randrange(40, len(data)), rng.randrange(1, 40)
            piece = data[rng.randrange(len(data)) :][:length]
            altered[at : at + len(piece)] = rng.choice((piece, bytes(len(piece)), rng.randbytes(len(piece))))
        both.decode(bytes(altered[: len(data)]))


@pytest.mark.parametrize("name", ["default", "rans_few_lanes", "fixed_7_bits", "raw", "constant", "empty"])
def test_trailing_bytes(name):
    for more in (b"\0", b"\0\0", bytes(32), GOLDEN[name]):
        for data in (GOLDEN[name] + more, more + GOLDEN[name]):
            with pytest.raises(CorruptDataError):
                ops.decompress_weights(data)


# ---- the same bytes in other memory ----


class Kinds:
    """The kinds of memory that a record may lie in."""

    def __init__(self, data, folder):
        self.bytes = data
        self.bytearray = bytearray(data)
        self.memoryview = memoryview(data)
        self.part = memoryview(b"xyz" + data + b"xyz")[3:-3]
        self.wide = memoryview(data).cast("H") if len(data) % 2 == 0 else memoryview(data)
        self.tensor = tensor(data)
        self.strided = torch.stack((tensor(data), tensor(data)), 1)[:, 0]
        path = folder / "record"
        path.write_bytes(b"12345" + data)
        with path.open("rb") as file:
            self.mmap = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.mapped = memoryview(self.mmap)[5:]

    def close(self):
        self.mapped.release()
        self.mmap.close()


@pytest.mark.parametrize("name", GOLDEN)
def test_every_kind_of_memory(name, tmp_path):
    kinds = Kinds(GOLDEN[name], tmp_path)
    _, dtype, _, n = header(GOLDEN[name])
    expected = ops.decompress_weights(GOLDEN[name])
    assert expected.dtype is dtype and expected.shape == (n,)
    for kind in ("bytearray", "memoryview", "part", "wide", "tensor", "strided", "mapped"):
        back = ops.decompress_weights(getattr(kinds, kind))
        assert same_bits(back, expected), kind
    del back
    kinds.close()  # nothing keeps a hold on the memory


def test_memory_that_is_no_record(tmp_path):
    data = GOLDEN["default"]
    for wrong in (None, 5, "text", [1, 2], object()):
        with pytest.raises(TypeError, match=r"^decompress_weights: data must be "):
            ops.decompress_weights(wrong)
    with pytest.raises(ValueError, match=r"^decompress_weights: data must be contiguous"):
        ops.decompress_weights(memoryview(data + data)[::2])
    with pytest.raises(TypeError, match=r"^decompress_weights: data must be uint8"):
        ops.decompress_weights(tensor(data).to(torch.int32))
    kinds = Kinds(data, tmp_path)
    for kind in ("bytearray", "memoryview", "part", "tensor", "mapped"):
        with pytest.raises(CorruptDataError):
            ops.decompress_weights(getattr(kinds, kind)[:-1])
    kinds.close()


@pytest.mark.parametrize("name", GOLDEN)
def test_unaligned(name, backend):
    data = GOLDEN[name]
    _, dtype, _, n = header(data)
    for offset in (1, 2, 3, 7, 33):
        memory = tensor(bytes(offset) + data, backend.device)
        room = torch.empty(n + offset, dtype=dtype, device=backend.device)
        with forced(backend, OP):
            back = ops.decompress_weights(memory[offset:], out=room[offset:])
        assert same_bits(back, ops.decompress_weights(data))


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect")
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", GOLDEN)
def test_nothing_beyond_record_and_output_is_touched(name, level):
    """Record and output end where their pages end, so a read or write behind them is a segmentation fault."""
    data = GOLDEN[name]
    _, dtype, _, n = header(data)
    expected = ops.decompress_weights(data)
    torch.set_num_threads(1)
    with guarded(len(data)) as memory, guarded(n * dtype.itemsize) as room, simd(level):
        out = torch.frombuffer(room, dtype=dtype) if n else torch.empty(0, dtype=dtype)
        for bits in (0, *FLIPS):
            for position in range(32, len(data), len(data) // 64 + 1) if bits else (0,):
                memory[:] = flipped(data, position, bits)
                with contextlib.suppress(ValueError):
                    ops.decompress_weights(memory, out=out)
                    assert bits or same_bits(out, expected)
        del out


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect")
@pytest.mark.parametrize("name", ["huffman_three_chunks", "rans_three_chunks", "rans_12_bits", "huffman_length_limit"])
def test_memory_that_changes_while_it_is_read(name):
    """A file that another process writes to: what was checked is what is used."""
    data, f = GOLDEN[name], forged(name)
    out = torch.empty(f.fields["n"])
    begin, sizes = 48, 48 + len(f.codebook)
    end = sizes + 4 * len(f.sizes)
    lie = bytearray(data)
    lie[begin : begin + 4] = bytes(x ^ 0xFF for x in data[begin : begin + 4])
    lie[sizes : sizes + 4] = (2**31).to_bytes(4, "little")
    pieces = data[begin:end], bytes(lie[begin:end])
    read = []
    torch.set_num_threads(1)
    with guarded(len(data)) as memory:
        memory[:] = data
        view = memoryview(memory).cast("B")

        def alter():
            while len(read) < 1500:
                for piece in pieces:
                    view[begin:end] = piece

        thread = threading.Thread(target=alter)
        thread.start()
        while len(read) < 1500:
            try:
                read.append(ops.decompress_weights(memory, out=out) is out)
            except CorruptDataError:
                read.append(False)
        thread.join()
        view.release()


# ---- Huffman streams ----


def stream_of(golden, device="cpu", **changes):
    known = index()[golden.name]
    stream = HuffmanStream(tensor(path_of(golden).read_bytes()), torch.tensor(known["sizes"], dtype=torch.int32),
                           tensor(bytes.fromhex(known["lengths"])), (golden.n,))._replace(**changes)  # fmt: skip
    return HuffmanStream(*(x.to(device) if isinstance(x, torch.Tensor) else x for x in stream))


def codes_in(stream, level=None):
    """The codes as a list, None if the stream is refused."""
    with simd(level):
        try:
            codes = ops.huffman_decode(stream)
        except CorruptDataError:
            return None
    assert codes.shape == stream.shape
    return codes.tolist()


@pytest.mark.parametrize("golden", [s for s in STREAMS if s.n], ids=str)
def test_huffman_stream_altered(golden, backend):
    stream = stream_of(golden, backend.device)
    rng = random.Random(golden.name)
    size = stream.payload.shape[0]
    for at in {*range(min(size, 40)), *rng.sample(range(size), min(size, 80)), size - 1}:
        payload = stream.payload.clone()
        payload[at] ^= rng.choice(FLIPS)
        altered = stream._replace(payload=payload)
        assert codes_in(altered, backend.simd) == codes_in(stream_of(golden, payload=payload.cpu()), "scalar")
    for at in {0, size // 2, size - 1, size - 2}:
        assert codes_in(stream._replace(payload=stream.payload[:at]), backend.simd) is None
    assert codes_in(stream._replace(payload=torch.cat([stream.payload] * 2)), backend.simd) is None
    for change in (-2, -1, 1, 2, 2**31 - 2, -(2**31)):
        sizes = stream.sizes.clone()
        sizes[0] += change
        assert codes_in(stream._replace(sizes=sizes), backend.simd) is None
    if len(stream.sizes) > 1:  # the sum is right
        sizes = stream.sizes + torch.tensor([2, -2], dtype=torch.int32, device=backend.device)
        assert codes_in(stream._replace(sizes=sizes), backend.simd) is None
    for shape in ((golden.n + 1,), (golden.n - 1,), (golden.n, 2), (), (2**60,), (2**59, 2**59)):
        if golden.n != 1 or shape != ():
            assert codes_in(stream._replace(shape=shape), backend.simd) is None
    for sizes in (stream.sizes[:0], torch.cat([stream.sizes, stream.sizes[:1]])):
        assert codes_in(stream._replace(sizes=sizes), backend.simd) is None


@pytest.mark.parametrize("golden", [s for s in STREAMS if s.n], ids=str)
def test_huffman_stream_with_other_lengths(golden, backend):
    stream = stream_of(golden, backend.device)
    for at in range(0, len(stream.lengths), len(stream.lengths) // 20 + 1):
        for length in (0, 1, 2, 15, 16, 17, 32, 255):
            lengths = stream.lengths.clone()
            if int(lengths[at]) != length:
                lengths[at] = length  # a Kraft sum other than 1, or another code
                altered, other = stream._replace(lengths=lengths), stream_of(golden, lengths=lengths.cpu())
                assert codes_in(altered, backend.simd) == codes_in(other, "scalar")
    for lengths in (torch.zeros_like(stream.lengths), torch.full_like(stream.lengths, 255)):
        assert codes_in(stream._replace(lengths=lengths), backend.simd) is None

"""huffman_decode on every backend: what it gives back, and that it trusts nothing."""

import functools

import pytest
import torch

from effdl_fast import CorruptDataError
from effdl_fast.ops import HuffmanStream, huffman_encode_ref
from effdl_fast.testing.backends import forced
from effdl_fast.testing.cases._weights import lengths_for

from ._lanes import canonical, decode_huffman
from ._weights import *  # noqa: F403
from .test_huffman_encode import BAD_LENGTHS, SIZES, skewed

OP = "huffman_decode"


@functools.cache
def stream_of(n, bins=60, device="cpu", seed=0):
    codes = skewed(n, bins, seed)
    stream = huffman_encode_ref(codes, lengths_for(codes, bins))
    return codes.to(device), on(stream, device)


def on(stream, device):
    return HuffmanStream(*(t.to(device) for t in stream[:3]), stream.shape)


def outcome(function, stream):
    """The codes, or None if the stream is refused."""
    try:
        return function(stream).cpu()
    except CorruptDataError:
        return None


@pytest.mark.parametrize("bins", [1, 2, 256, 257, 2048, 2049, 65536])
def test_gives_back_the_codes(op, backend, bins):
    """2048 symbols is where tables change their layout."""
    for n in SIZES:
        codes, stream = stream_of(n, bins, backend.device, n)
        with forced(backend, op.name):
            decoded = op.run(stream)
        assert decoded.dtype is (torch.uint8 if bins <= 256 else torch.uint16)
        assert torch.equal(decoded, codes)


def test_the_text_reads_the_stream_too():
    for n in (1, 7, 500, 5000):
        codes, stream = stream_of(n)
        lengths = stream.lengths.tolist()
        assert decode_huffman(bytes(stream.payload.tolist()), n, lengths, canonical(lengths)) == codes.tolist()


def test_chunks_by_themselves(op, backend):
    """Random access: a chunk with its size is a stream."""
    codes, stream = stream_of(3 * 32768 + 77, 60, backend.device)
    ends = stream.sizes.cumsum(0).tolist()
    for i, (end, size) in enumerate(zip(ends, stream.sizes.tolist(), strict=True)):
        part = codes[i * 32768 : (i + 1) * 32768]
        one = HuffmanStream(stream.payload[end - size : end], stream.sizes[i : i + 1], stream.lengths, (len(part),))
        with forced(backend, op.name):
            assert torch.equal(op.run(one), part)


def test_strided_and_unaligned(op, backend):
    codes, stream = stream_of(5000, 60, backend.device)
    payload = torch.stack((stream.payload, stream.payload), 1)[:, 0]
    assert torch.equal(op.run(stream._replace(payload=payload)), codes)
    shifted = torch.cat([stream.payload[:1], stream.payload])[1:]
    assert shifted.data_ptr() % 2 == 1 and torch.equal(op.run(stream._replace(payload=shifted)), codes)


# ---- corrupt streams ----


@pytest.mark.parametrize("n", [3, 40, 4200])
def test_every_flipped_byte(op, backend, n):
    """Refused, or decoded to what the reference decodes it to: never anything else."""
    _, stream = stream_of(n, 20, backend.device)
    masks = torch.randint(1, 256, (stream.payload.numel(),), generator=torch.Generator().manual_seed(n))
    refused = total = 0
    for i in range(0, stream.payload.numel(), 1 if n < 1000 else 37):
        payload = stream.payload.clone()
        payload[i] ^= int(masks[i])
        altered = stream._replace(payload=payload)
        ours, expected = outcome(op.run, altered), outcome(op.ref, altered)
        assert (ours is None) == (expected is None) and (ours is None or torch.equal(ours, expected))
        refused, total = refused + (ours is None), total + 1
    assert refused >= total * 0.8  # the rest is another valid stream


@pytest.mark.parametrize("n", [3, 40, 4200])
def test_every_length_of_the_payload(op, backend, n):
    _, stream = stream_of(n, 20, backend.device)
    size = stream.payload.numel()
    for short in {*range(0, size, 1 if n < 1000 else 61), size - 1}:
        with pytest.raises(CorruptDataError, match="huffman_decode: "):
            op.run(stream._replace(payload=stream.payload[:short]))
        sizes = torch.tensor([short], dtype=torch.int32, device=backend.device)
        with pytest.raises(CorruptDataError, match="huffman_decode: "):
            op.run(stream._replace(payload=stream.payload[:short], sizes=sizes))
    for more in (1, 2, 100):
        longer = torch.cat([stream.payload, stream.payload.new_zeros(more)])
        with pytest.raises(CorruptDataError):
            op.run(stream._replace(payload=longer))
        with pytest.raises(CorruptDataError):
            op.run(stream._replace(payload=longer, sizes=stream.sizes + more))


def test_wrong_sizes(op, backend):
    """Sums that fit, with borders that do not; negative and huge sizes; too many or too few."""
    _, stream = stream_of(3 * 32768 + 77, 60, backend.device)
    a, b, c, d = stream.sizes.tolist()
    for sizes in ([a + 2, b - 2, c, d], [a + 1, b - 1, c, d], [a + b, 0, c, d], [-2, a + b + 2, c, d], [b, a, c, d],
                  [0, 0, 0, a + b + c + d], [2**31 - 2, b, c, d], [-(2**31), b, c, d]):  # fmt: skip
        for function in (op.run, op.ref):
            with pytest.raises(CorruptDataError, match="huffman_decode: "):
                function(stream._replace(sizes=torch.tensor(sizes, dtype=torch.int32, device=backend.device)))
    for sizes in ([a, b, c], [a, b, c, d, 0], []):
        for function in (op.run, op.ref):
            with pytest.raises(CorruptDataError, match=r"huffman_decode: stream\.sizes must have 4 elements"):
                function(stream._replace(sizes=torch.tensor(sizes, dtype=torch.int32, device=backend.device)))


def test_other_numbers_of_codes(op, backend):
    _, stream = stream_of(100, 20, backend.device)
    for n in (1, 99, 101, 4096, 32768):
        for function in (op.run, op.ref):
            with pytest.raises(CorruptDataError):
                function(stream._replace(shape=(n,)))
    with pytest.raises(CorruptDataError, match="sizes must have"):
        op.run(stream._replace(shape=(2**40,)))  # refused before anything is allocated


@pytest.mark.parametrize("lengths", BAD_LENGTHS.values(), ids=BAD_LENGTHS)
def test_lengths_of_no_code(op, backend, lengths):
    _, stream = stream_of(5, 3, backend.device)
    altered = stream._replace(lengths=torch.tensor(lengths, dtype=torch.uint8, device=backend.device))
    for function in (op.run, op.ref):
        with pytest.raises(CorruptDataError, match="huffman_decode: "):
            function(altered)


def test_random_bytes(op, backend):
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([1, 2, 3, 4, 4], dtype=torch.uint8)
    for n in (1, 50, 4096, 5000, 40_000):
        for _ in range(5):
            size = 2 * int(torch.randint(8, 2 * n + 70, (), generator=generator))
            payload = torch.randint(256, (size,), generator=generator).to(torch.uint8)
            sizes = [size] if n <= 32768 else [size // 4 * 2, size - size // 4 * 2]
            stream = on(HuffmanStream(payload, torch.tensor(sizes, dtype=torch.int32), lengths, (n,)), backend.device)
            ours, expected = outcome(op.run, stream), outcome(op.ref, stream)
            assert (ours is None) == (expected is None) and (ours is None or torch.equal(ours, expected))


def test_words_that_only_decode_short(op, backend):
    """A payload of 1-bit codes for symbols that need far more words than there are: stops at the end."""
    lengths = torch.tensor([*range(1, 16), 15], dtype=torch.uint8, device=backend.device)
    for n in (4096, 32768):
        payload = torch.full((128,), 255, dtype=torch.uint8, device=backend.device)  # the longest code, over and over
        sizes = torch.tensor([128], dtype=torch.int32, device=backend.device)
        with pytest.raises(CorruptDataError):
            op.run(HuffmanStream(payload, sizes, lengths, (n,)))


# ---- errors ----


def test_what_is_no_stream(op):
    _, stream = stream_of(5)
    for bad in (stream.payload, tuple(stream), None):
        with pytest.raises(TypeError, match="huffman_decode: stream must be a HuffmanStream, as huffman_encode"):
            op.run(bad)
    for name in ("payload", "sizes", "lengths"):
        with pytest.raises(TypeError, match=rf"huffman_decode: stream\.{name} must be a torch\.Tensor, got bytes"):
            op.run(stream._replace(**{name: b"1"}))


def test_errors(op):
    _, stream = stream_of(5)
    for function in (op.run, op.ref):
        with pytest.raises(TypeError, match=r"huffman_decode: stream\.payload must be uint8, got int8"):
            function(stream._replace(payload=stream.payload.to(torch.int8)))
        with pytest.raises(TypeError, match=r"huffman_decode: stream\.sizes must be int32, got int64"):
            function(stream._replace(sizes=stream.sizes.long()))
        with pytest.raises(TypeError, match=r"huffman_decode: stream\.lengths must be uint8, got int32"):
            function(stream._replace(lengths=stream.lengths.int()))
        with pytest.raises(ValueError, match=r"stream\.payload must have one dimension, got shape \(\)"):
            function(stream._replace(payload=stream.payload[0]))
        with pytest.raises(ValueError, match=r"stream\.lengths must have 1 to 65536 elements, got 0"):
            function(stream._replace(lengths=stream.lengths[:0]))
        with pytest.raises(ValueError, match=r"stream\.sizes must be on the device of stream\.payload, cpu, got meta"):
            function(stream._replace(sizes=stream.sizes.to("meta")))
        with pytest.raises(TypeError, match=r"huffman_decode: stream\.shape must be a tuple, got list"):
            function(stream._replace(shape=[5]))
        with pytest.raises(TypeError, match=r"sizes in stream\.shape must be an integer, got float"):
            function(stream._replace(shape=(5.0,)))
        with pytest.raises(ValueError, match=r"sizes in stream\.shape must be from 0 to \d+, got -5"):
            function(stream._replace(shape=(-1, -5)[1:]))

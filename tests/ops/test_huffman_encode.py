"""huffman_encode on every backend: the stream of docs/format.md to the bit."""

import pytest
import torch

from effdl_fast.ops import HuffmanStream, huffman_decode
from effdl_fast.ops._weights_lanes import canonical_codes, encode, rans_code, rans_frequencies, reverse_bits
from effdl_fast.testing.backends import forced
from effdl_fast.testing.cases._weights import counts_of, lengths_for

from ._hpack import CODES, LENGTHS
from ._lanes import canonical, encode_huffman, encode_rans, reverse
from ._weights import *  # noqa: F403
from ._weights import wrong_codes

OP = "huffman_encode"


def skewed(n, bins, seed=0):
    """Codes of which small ones are frequent, and the last one occurs."""
    generator = torch.Generator().manual_seed(seed)
    codes = (torch.rand(n, generator=generator) ** 4 * bins).int().clamp(max=bins - 1)
    codes[-1:] = bins - 1
    return codes.to(torch.uint8 if bins <= 256 else torch.uint16)


# ---- canonical codes ----


def test_codes_of_rfc_1951():
    """The example of 3.2.2: symbols A to H."""
    wanted = ["010", "011", "100", "101", "110", "00", "1110", "1111"]
    lengths = torch.tensor([3, 3, 3, 3, 3, 2, 4, 4], dtype=torch.uint8)
    assert [f"{c:0{n}b}" for c, n in zip(canonical_codes(lengths).tolist(), lengths.tolist(), strict=True)] == wanted


def test_kernels_write_the_codes_of_rfc_1951(op, backend):
    """A symbol alone in its lane: its code stands below the top bit of the state, first bit lowest."""
    lengths = torch.tensor([3, 3, 3, 3, 3, 2, 4, 4], dtype=torch.uint8, device=backend.device)
    codes = torch.arange(8, dtype=torch.uint8, device=backend.device)
    for first in (0, 4):
        with forced(backend, op.name):
            payload = op.run(codes[first : first + 4], lengths).payload
        states = payload.cpu().view(torch.int32).tolist()
        assert states == [1 << 16 + n | reverse(c, n) for n, c in zip(
            lengths.tolist()[first:], canonical(lengths.tolist())[first : first + 4], strict=False)]  # fmt: skip


def test_codes_of_rfc_7541():
    """Appendix B, the code of HPACK: 257 symbols with 5 to 30 bits."""
    assert canonical_codes(torch.tensor(LENGTHS)).tolist() == CODES == canonical(LENGTHS)
    backwards = reverse_bits(torch.tensor(CODES), torch.tensor(LENGTHS)).tolist()
    assert backwards == [reverse(c, n) for c, n in zip(CODES, LENGTHS, strict=True)]


# ---- the stream ----

SIZES = (1, 2, 3, 4, 5, 100, 4095, 4096, 4100, 32768, 32769, 32768 + 4096)


@pytest.mark.parametrize("bins", [2, 200, 256, 1000])
def test_stream_is_that_of_the_text(op, backend, bins):
    for n in SIZES:
        codes = skewed(n, bins, n)
        lengths = lengths_for(codes, bins)
        chunks = encode_huffman(codes.tolist(), lengths.tolist(), canonical(lengths.tolist()))
        with forced(backend, op.name):
            stream = op.run(codes.to(backend.device), lengths.to(backend.device))
        assert isinstance(stream, HuffmanStream)
        assert stream.sizes.tolist() == [len(c) for c in chunks]
        assert bytes(stream.payload.tolist()) == b"".join(chunks)
        assert stream.shape == (n,) and torch.equal(stream.lengths.cpu(), lengths)


def test_rans_reference_is_that_of_the_text():
    """rANS has no op of its own: compress_weights is compared with this reference."""
    for n in (1, 5, 100, 4096, 4100):
        codes = skewed(n, 60, n).int()
        frequencies = rans_frequencies(counts_of(codes, 60))
        payload, sizes = encode(codes, rans_code(frequencies))
        chunks = encode_rans(codes.tolist(), frequencies.tolist())
        assert bytes(payload.tolist()) == b"".join(chunks) and sizes.tolist() == [len(c) for c in chunks]


def test_longest_codes(op, backend):
    """16 bits: more than a state has room for, so that every such symbol emits a word."""
    lengths = torch.tensor([*range(1, 17), 16], dtype=torch.uint8)
    for n in (1, 3, 999, 5000, 33_000):
        for codes in (torch.full((n,), 16), torch.arange(n) % 17, torch.full((n,), 15)):
            codes = codes.to(torch.uint8).to(backend.device)
            with forced(backend, op.name):
                stream = op.run(codes, lengths.to(backend.device))
            assert torch.equal(huffman_decode(stream), codes)


def test_all_65536_symbols(op, backend):
    """Equally frequent: 16 bits each."""
    lengths = torch.full((65536,), 16, dtype=torch.uint8, device=backend.device)
    codes = torch.arange(65536, dtype=torch.int32).flip(0).to(torch.uint16).to(backend.device)
    with forced(backend, op.name):
        stream = op.run(codes, lengths)
    assert stream.payload.numel() == 2 * 65536 + 2 * 32 * 4
    assert torch.equal(huffman_decode(stream), codes)


def test_a_single_symbol(op, backend):
    lengths = torch.tensor([0, 0, 1], dtype=torch.uint8, device=backend.device)
    for n in (1, 4, 63, 64, 65, 5000):
        codes = torch.full((n,), 2, dtype=torch.uint8, device=backend.device)
        with forced(backend, op.name):
            stream = op.run(codes, lengths)
        assert torch.equal(huffman_decode(stream), codes)


def test_shape_is_kept(op, backend):
    codes = skewed(60, 9).view(3, 4, 5).to(backend.device)
    lengths = lengths_for(codes, 9)
    stream = op.run(codes.transpose(0, 2), lengths)
    assert stream.shape == (5, 4, 3)
    assert torch.equal(huffman_decode(stream), codes.transpose(0, 2))
    assert op.run(codes[0, 0, 0], lengths).shape == ()


def test_no_codes(op, backend):
    for lengths in ([0, 0], [1, 1], [0, 1]):
        with forced(backend, op.name):
            stream = op.run(torch.empty(2, 0, dtype=torch.uint8, device=backend.device),
                            torch.tensor(lengths, dtype=torch.uint8, device=backend.device))  # fmt: skip
        assert stream.payload.numel() == stream.sizes.numel() == 0 and stream.shape == (2, 0)


def test_payload_is_no_view_of_a_larger_buffer(op, backend):
    codes = skewed(5000, 9).to(backend.device)
    payload = op.run(codes, lengths_for(codes, 9)).payload
    assert payload.untyped_storage().nbytes() == payload.numel()


def test_size_is_near_the_entropy(op, backend):
    """A chunk of 32768 symbols costs 32 lanes times about 3 bytes beside the codes."""
    codes = skewed(300_000, 256).to(backend.device)
    lengths = lengths_for(codes, 256)
    bits = int((counts_of(codes, 256) * lengths.long()).sum())
    assert abs(op.run(codes, lengths).payload.numel() - bits / 8 - 10 * 32 * 3) < 10 * 32


# ---- errors ----

BAD_LENGTHS = {
    "Kraft sum below 1": [1, 2, 3],
    "Kraft sum above 1": [1, 1, 1],
    "a single symbol with more than one bit": [0, 2, 0],
    "too long": [1, 2, 17, 17],
    "overflow of a byte": [255, 1, 1],
    "none": [0, 0, 0],
}


@pytest.mark.parametrize("lengths", BAD_LENGTHS.values(), ids=BAD_LENGTHS)
def test_lengths_of_no_code(op, backend, lengths):
    lengths = torch.tensor(lengths, dtype=torch.uint8, device=backend.device)
    codes = torch.zeros(5, dtype=torch.uint8, device=backend.device)
    for function in (op.run, op.ref):
        with pytest.raises(ValueError, match="huffman_encode: "):
            function(codes, lengths)


def test_lengths_of_no_code_without_codes(op):
    for function in (op.run, op.ref):
        with pytest.raises(ValueError, match="huffman_encode: lengths"):
            function(torch.empty(0, dtype=torch.uint8), torch.tensor([1, 2, 3], dtype=torch.uint8))


@pytest.mark.parametrize("bins", [3, 256, 300])
def test_codes_without_a_length(op, backend, bins):
    torch.set_num_threads(2)
    lengths = torch.zeros(bins, dtype=torch.uint8)
    lengths[0] = lengths[1] = 1
    for bad in (2, 255) if bins <= 256 else (2, 299, 65535):
        for n, place in ((1, 0), (40, 33), (40_000, 39_999), (40_000, 5), (100_000, 70_000)):
            codes = torch.zeros(n, dtype=torch.int32)
            codes[place] = bad
            codes = codes.to(torch.uint8 if bins <= 256 else torch.uint16).to(backend.device)
            for function in (op.run, op.ref) if n < 1000 else (op.run,):
                with pytest.raises(ValueError, match="huffman_encode: codes"):
                    function(codes, lengths.to(backend.device))


def test_dtypes_and_shapes(op):
    lengths = torch.tensor([1, 1], dtype=torch.uint8)
    codes = torch.zeros(3, dtype=torch.uint8)
    wrong_codes(op, lambda codes: op.run(codes, lengths))
    for function in (op.run, op.ref):
        with pytest.raises(TypeError, match="huffman_encode: lengths must be uint8, got int64"):
            function(codes, lengths.long())
        with pytest.raises(ValueError, match=r"huffman_encode: lengths must have one dimension, got shape \(1, 2\)"):
            function(codes, lengths[None])
        for bins in (0, 65537):
            with pytest.raises(ValueError, match=f"lengths must have 1 to 65536 elements, got {bins}"):
                function(codes, torch.zeros(bins, dtype=torch.uint8))
        with pytest.raises(TypeError, match="huffman_encode: codes must be uint8 for 2 bins, got uint16"):
            function(codes.to(torch.uint16), lengths)
        with pytest.raises(TypeError, match="huffman_encode: codes must be uint16 for 300 bins, got uint8"):
            function(codes, torch.zeros(300, dtype=torch.uint8))
        with pytest.raises(TypeError, match=r"huffman_encode: lengths must be a torch\.Tensor, got list"):
            function(codes, [1, 1])
        with pytest.raises(ValueError, match="huffman_encode: lengths must be on the device of codes, cpu, got meta"):
            function(codes, lengths.to("meta"))

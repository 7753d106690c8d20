"""Records that lie: headers, codebooks and directories that no encoder writes. CorruptDataError before anything of the
claimed size is allocated."""

import functools
import math
import random

import pytest
import torch

from effdl_fast import ops
from effdl_fast.errors import CorruptDataError
from effdl_fast.ops import _weights_record as record
from effdl_fast.testing.backends import simd

from ._corrupt import GOLDEN, Twice, forged, header, huffman_record, rans_record, tensor
from ._golden import symbols

OP = "decompress_weights"
CODED = ["huffman_few_lanes", "huffman_many_lanes", "huffman_two_chunks", "rans_many_lanes", "rans_two_chunks"]


@functools.cache
def reference(data):
    """What the reference makes of it, None if it refuses."""
    try:
        return ops.decompress_weights_ref(data)
    except CorruptDataError as e:
        assert str(e).startswith("decompress_weights: "), e
        return None


def refused(data, backend, n=None):
    """By the backend and by the reference. n: of the elements it is decoded to."""
    for out in (None, torch.empty(n, device=backend.device)) if n is not None else (None,):
        with simd(backend.simd), pytest.raises(CorruptDataError, match=r"^decompress_weights: "):
            ops.decompress_weights(tensor(data, backend.device), out=out)
    assert reference(data) is None


def accepted(data, backend):
    """By the backend and by the reference, which agree."""
    expected = reference(data)
    assert expected is not None
    both = Twice(len(expected), expected.dtype, backend)
    assert both.decode(data) and both.ours.tolist() == expected.tolist()
    return expected


# ---- headers ----


@pytest.mark.parametrize("name", [*CODED, "fixed_7_bits", "raw", "constant", "empty"])
def test_unknown_fields(name, backend):
    f = forged(name)
    for changes in ({"magic": b"EFWC"}, {"magic": b"\0\0\0\0"}, {"version": 0}, {"version": 2}, {"codec": 5},
                    {"codec": 255}, {"dtype": 4}, {"dtype": 255}, {"zero": 1}, {"chunk": 14}, {"chunk": 16},
                    {"width": 6}, {"width": 255}, {"smallest": 17}):  # fmt: skip
        refused(f.bytes(**changes), backend)
    assert f.bytes() == GOLDEN[name], "unchanged, it is the record"


@pytest.mark.parametrize("name", [*CODED, "fixed_7_bits"])
def test_ranges(name, backend):
    f = forged(name)
    for bound in (math.nan, math.inf, -math.inf, -0.0, 0.1):  # 0.1 is no float32
        refused(f.bytes(lo=bound, hi=2.0), backend)
        refused(f.bytes(lo=-2.0, hi=bound), backend)
    refused(f.bytes(lo=1.0, hi=-1.0), backend)
    refused(f.bytes(lo=1.0, hi=1.0), backend)
    accepted(f.bytes(lo=-1.0, hi=1.0), backend)
    refused(f.bytes(dtype=2, lo=1.0 + 2**-11, hi=2.0), backend)  # no float16
    refused(f.bytes(dtype=2, lo=1.0, hi=65536.0), backend)
    refused(f.bytes(dtype=3, lo=1.0 + 2**-8, hi=2.0), backend)  # no bfloat16
    refused(f.bytes(dtype=1, lo=-1.7e308, hi=1.7e308), backend)  # float64 cannot divide these
    refused(f.bytes(dtype=1, lo=0.0, hi=5e-324), backend)


def test_ranges_of_what_is_not_quantized(backend):
    for bound in (math.nan, math.inf, -0.0, 0.1):
        refused(forged("constant").bytes(lo=bound, hi=bound), backend)
    refused(forged("constant").bytes(lo=1.0, hi=2.0), backend)
    refused(forged("constant_float16").bytes(lo=1e5, hi=1e5), backend)
    for bound in (-0.0, 1.0, math.nan):
        for name in ("raw", "empty"):
            refused(forged(name).bytes(lo=bound), backend)
            refused(forged(name).bytes(hi=bound), backend)


@pytest.mark.parametrize("name", [*CODED, "fixed_7_bits", "raw"])
def test_numbers_of_elements(name, backend):
    """With the length of the record as it is: a huge n is seen to be wrong before it is allocated."""
    f = forged(name)
    n = f.fields["n"]
    for wrong in (0, 1, n - 20, n + 20, 2 * n, n + 2**32, n + 2**61, n + 2**62, 2**31, 2**40, 2**62, 2**63, 2**64 - 1):
        refused(f.bytes(n=wrong), backend)
    for bits in (17, 255) if name == "raw" else (0, 17, 255):
        refused(f.bytes(bits=bits), backend)


def test_constant_records_of_any_size(backend):
    f = forged("constant")
    refused(f.bytes(n=0), backend)
    refused(f.bytes(n=2**62 + 1), backend)
    out = torch.empty(5, device=backend.device)
    for n in (2**31, 2**40, 2**62):  # `out` is the caller's cap
        with pytest.raises(ValueError, match=r"^decompress_weights: "):
            ops.decompress_weights(tensor(f.bytes(n=n), backend.device), out=out)
    with pytest.raises(CorruptDataError, match=r"^decompress_weights: "):  # torch's allocator refuses
        ops.decompress_weights(tensor(f.bytes(n=2**62), backend.device))
    with pytest.raises(CorruptDataError, match=r"^decompress_weights: "):
        ops.decompress_weights(tensor(f.bytes(n=2**31), backend.device), max_elements=2**31 - 1)
    ops.decompress_weights(tensor(f.bytes(n=5), backend.device), out=out)
    assert out.tolist() == [f.fields["lo"]] * 5


@pytest.mark.parametrize("name", [*CODED, "fixed_7_bits", "raw", "constant"])
def test_sizes_of_parts(name, backend):
    f = forged(name)
    for field in ("book", "payload"):
        size = len(f.codebook if field == "book" else f.payload)
        for wrong in (size + 1, size + 4, size - 4, size + 2**31, size + 2**32 - 1, 2**32 - 1, 2**63, 2**64 - 48):
            if 0 <= wrong < 2 ** (32 if field == "book" else 64):
                refused(f.bytes(**{field: wrong}), backend)
    refused(f.bytes(book=len(f.codebook) + 4, payload=max(len(f.payload) - 4, 0)), backend)
    f.codebook += bytes(4)
    refused(f.bytes(), backend)


# ---- directories ----


@pytest.mark.parametrize("name", ["huffman_three_chunks", "rans_three_chunks", "huffman_two_chunks", "rans_two_chunks"])
def test_directories(name, backend):
    n = header(GOLDEN[name])[3]

    def lie(change):
        f = forged(name)
        change(f)
        return f.bytes()

    def move(f, by):  # the sum is right
        f.sizes[0] += by
        f.sizes[1] -= by

    def put(f, *sizes):
        f.sizes[: len(sizes)] = sizes

    for by in (2, -2, 1, 4, 128, -128):
        refused(lie(lambda f, by=by: move(f, by)), backend, n)
    refused(lie(lambda f: put(f, *reversed(f.sizes))), backend, n)
    refused(lie(lambda f: put(f, 0, f.sizes[0] + f.sizes[1])), backend, n)
    refused(lie(lambda f: put(f, 2**32 - 2, f.sizes[1] + f.sizes[0] + 2)), backend, n)  # right modulo 2^32
    refused(lie(lambda f: put(f, 2**31)), backend, n)
    for size in (0, 2, 126, 2**32 - 1):
        refused(lie(lambda f, size=size: put(f, size)), backend, n)
    refused(lie(lambda f: f.sizes.pop()), backend, n)
    refused(lie(lambda f: f.sizes.append(128)), backend, n)


@pytest.mark.parametrize("name", CODED)
def test_ends_of_chunks(name, backend):
    n = header(GOLDEN[name])[3]
    for more in (b"\0\0", bytes(64)):  # words that nobody takes
        f = forged(name)
        f.sizes[-1] += len(more)
        f.payload += more
        refused(f.bytes(), backend, n)
    for less in (2, 64):
        f = forged(name)
        f.sizes[-1] -= less
        f.payload = f.payload[:-less]
        refused(f.bytes(), backend, n)
    f = forged(name)
    f.sizes[-1] -= 1  # half a word
    f.payload = f.payload[:-1]
    refused(f.bytes(), backend, n)


@pytest.mark.parametrize("name", CODED)
def test_states(name, backend):
    n = header(GOLDEN[name])[3]
    for lane in (0, 1, 3):
        for state in (0, 1, 2**16 - 1):  # no encoder has these
            f = forged(name)
            f.payload = f.payload[: 4 * lane] + state.to_bytes(4, "little") + f.payload[4 * lane + 4 :]
            refused(f.bytes(), backend, n)
        f = forged(name)
        state = int.from_bytes(f.payload[4 * lane : 4 * lane + 4], "little")
        for other in (state ^ 1 << 31, 2**32 - 1):  # which do not end at 2^16
            f.payload = f.payload[: 4 * lane] + other.to_bytes(4, "little") + f.payload[4 * lane + 4 :]
            refused(f.bytes(), backend, n)


# ---- codebooks ----

CODES = [c % 4 for c in symbols("bell", 400, 4)]


def stored(lengths, smallest, width):
    """A codebook for huffman_record: what the record is to say, right or wrong."""
    values = [length - smallest + 1 if length else 0 for length in lengths]
    packed = ops.pack_bits_ref(torch.tensor(values, dtype=torch.uint8), width)
    return smallest, width, torch.cat([packed, packed.new_zeros(-len(packed) % 4)])


def test_lengths(backend):
    good = huffman_record([1, 2, 3, 3], CODES, bits=2)
    accepted(good, backend)
    for lengths in ([1, 2, 3, 4], [1, 2, 3, 0], [2, 2, 2, 0], [1, 1, 1, 0], [1, 1, 2, 2], [1, 2, 2, 2], [16, 16, 0, 0],
                    [1, 0, 0, 2], [2, 0, 0, 0]):  # fmt: skip
        smallest = min(length for length in lengths if length)
        width = (max(lengths) - smallest + 1).bit_length()
        refused(huffman_record([1, 2, 3, 3], CODES, bits=2, book=stored(lengths, smallest, width)), backend, len(CODES))
    for smallest, width in ((1, 3), (1, 5), (0, 3)):  # wider than needed, or from another length on
        refused(huffman_record([1, 2, 3, 3], CODES, bits=2, book=stored([1, 2, 3, 3], smallest, width)), backend)
    book = stored([0, 0, 0, 0], 1, 1)
    refused(huffman_record([1, 2, 3, 3], CODES, bits=2, book=book), backend)
    smallest, width, packed = stored([1, 2, 3, 3], 1, 2)
    for at in (8, 17, 31):  # bits after the last length
        padded = packed.clone()
        padded[at // 8] |= 1 << at % 8
        refused(huffman_record([1, 2, 3, 3], CODES, bits=2, book=(smallest, width, padded)), backend)


def test_lengths_beyond_16(backend):
    """17 in 5 bits, and 16 + 31, which would be a shift by more than the state has."""
    lengths = [*range(1, 17), 16] + [0] * 15
    codes = symbols("fibonacci", 2583, 16)
    accepted(huffman_record(lengths, codes, bits=5), backend)
    for smallest in (2, 8, 16):
        book = stored(lengths, 1, 5)
        refused(huffman_record(lengths, codes, bits=5, book=(smallest, *book[1:])), backend, len(codes))
    refused(huffman_record(lengths, codes, bits=5, book=stored([*range(1, 18), 17] + [0] * 14, 1, 5)), backend)


@pytest.mark.parametrize("bits", [1, 12, 16])
@pytest.mark.parametrize("n", [3, 4096])
def test_a_single_symbol(bits, n, backend):
    """No encoder writes it, as such a tensor is constant; but it is a code."""
    lengths = [0] * 2**bits
    lengths[-1] = 1
    data = huffman_record(lengths, [2**bits - 1] * n, bits=bits)
    values = accepted(data, backend)
    assert set(values.tolist()) == {1 - 2.0 ** -(bits + 1)}
    frequencies = [0] * 2**bits
    frequencies[0] = 1 << 14
    assert set(accepted(rans_record(frequencies, [0] * n, bits=bits), backend).tolist()) == {2.0 ** -(bits + 1)}


def test_every_code_of_16_bits(backend):
    """The largest table: 65536 symbols with 16 bits each."""
    rng = random.Random(0)
    codes = [rng.randrange(2**16) for _ in range(4100)]
    accepted(huffman_record([16] * 2**16, codes, bits=16), backend)


def test_frequencies(backend):
    good = [5000, 5000, 5000, 1384]
    accepted(rans_record(good, CODES, bits=2), backend)
    for wrong in ([5000, 5000, 5000, 1385], [5000, 5000, 5000, 1383], [5000, 5000, 5000, 0], [1, 1, 1, 1],
                  [16384, 16384, 16384, 16384], [16384, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 16383]):  # fmt: skip
        book = record.rans_book(torch.tensor(wrong))
        refused(rans_record(good, CODES, bits=2, book=book), backend, len(CODES))
    packed = record.rans_book(torch.tensor([9000, 7384]))[2]
    codes = [c // 2 for c in CODES]
    for at in (2, 7, 8 + 2 * 14, 8 * len(packed) - 1):  # symbols beyond the alphabet, and what is never used
        other = packed.clone()
        other[at // 8] ^= 1 << at % 8
        refused(rans_record([9000, 7384], codes, bits=1, book=(0, 0, other)), backend)
    for size in (0, 4, len(packed) - 4):
        refused(rans_record([9000, 7384], codes, bits=1, book=(0, 0, packed[:size])), backend)


def test_the_largest_alphabet_of_rans(backend):
    frequencies = [1] * 2**14 + [0] * (2**16 - 2**14)
    codes = [(i * 4099) % 2**14 for i in range(5000)]
    accepted(rans_record(frequencies, codes, bits=16), backend)


def test_unused_bits_of_fixed_records(backend):
    for name, used in (("fixed_7_bits", 333 * 7 % 8), ("fixed_1_bit", 21 % 8), ("fixed_two_values", 6)):
        for bit in range(used, 8):
            f = forged(name)
            f.payload = f.payload[:-1] + bytes([f.payload[-1] | 1 << bit])
            refused(f.bytes(), backend, f.fields["n"])


# ---- random bytes ----

try:
    import hypothesis
    from hypothesis import strategies as st
except ImportError:

    def test_random_bytes():
        pytest.skip("hypothesis is not installed")

else:

    def _mostly(*usual):
        """One of the usual values, or any that the field can hold."""
        return lambda most: st.one_of(st.sampled_from(usual), st.integers(0, most))

    @st.composite
    def records(draw):
        """Random bytes behind a header that is right in most fields."""
        numbers = st.sampled_from([0.0, -1.0, 1.0, 0.5, -0.0, 3e38, -3e38, 1e-45, 1e300, math.inf, math.nan])
        codec = draw(_mostly(0, 1, 2, 3, 4)(255))
        bits = draw(_mostly(0, 1, 2, 4, 8, 16)(255))
        n = draw(_mostly(0, 1, 2, 7, 64, 4095, 4096, 32768, 32769, 65536, 2**62)(2**64 - 1))
        smallest, width = draw(_mostly(0, 1, 2, 8)(255)), draw(_mostly(0, 1, 2, 3)(255))
        body = draw(st.binary(max_size=400))
        book = draw(st.sampled_from([0, 4, 8, 12, (2 ** min(bits, 16) * width + 31) // 32 * 4 % 2**32]))
        directory = -(-n // 32768) * 4 if codec in (3, 4) else 0
        rest = max(len(body) - book - directory, 0)
        payload = draw(st.sampled_from([rest, len(body), 0, (n * bits + 7) // 8, 4 * n]))
        lo, hi = draw(numbers), draw(numbers)
        chunk = draw(st.sampled_from([15, 0, 15, 16]))
        return record.HEADER.pack(b"EFWR", 1, codec, draw(_mostly(0, 1, 2, 3)(255)), bits, n, lo, hi, smallest, width,
                                  chunk, 0, book, payload % 2**64) + body  # fmt: skip

    @hypothesis.settings(max_examples=200, deadline=None, database=None,
                         suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])  # fmt: skip
    @hypothesis.given(data=st.one_of(records(), st.binary(max_size=200)))
    def test_random_bytes(data, backend):
        n = int.from_bytes(data[8:16], "little")
        Twice(n if n < 10**6 else 3, torch.float32, backend).decode(data)

"""The record of docs/format.md in plain PyTorch: what one compressed tensor looks like, and every check on it."""

import math
import struct
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from effdl_fast.errors import CorruptDataError
from effdl_fast.ops._weights_lanes import CHUNK_BITS, RANS_BITS, RANS_TOTAL, chunk_count, complete, lane_total
from effdl_fast.ops._weights_ref import grid
from effdl_fast.ops.pack_bits import pack_bits_ref
from effdl_fast.ops.unpack_bits import unpack_bits_ref

# magic, version, codec, dtype, bits, n, lo, hi, smallest length, bits per length, log2 of the chunk, 0, bytes of the
# codebook, bytes of the payload
HEADER = struct.Struct("<4sBBBBQddBBBBIQ")
MAGIC, VERSION = b"EFWR", 1
RAW, CONSTANT, FIXED, HUFFMAN, RANS = range(5)
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Record:
    """A record whose sizes, codes and padding have been checked; the chunks have not."""

    codec: int
    dtype: torch.dtype
    bits: int
    n: int
    lo: float
    hi: float
    symbols: Tensor | None  # lengths (huffman) or frequencies (rans) of the 2^bits symbols, int64
    sizes: Tensor | None  # bytes of each chunk, int64
    payload: Tensor  # uint8


# ---- writing ----


def write(codec: int, dtype: torch.dtype, n: int, payload: Tensor, *, bits: int = 0, lo: float = 0.0, hi: float = 0.0,
          book: tuple[int, int, Tensor] | None = None, sizes: Tensor | None = None) -> Tensor:  # fmt: skip
    """The record as uint8. book: header bytes 32 and 33 and the codebook."""
    smallest, width, codebook = (0, 0, payload[:0]) if book is None else book
    chunk = 0 if book is None else CHUNK_BITS
    header = HEADER.pack(MAGIC, VERSION, codec, DTYPES.index(dtype), bits, n, lo, hi, smallest, width, chunk, 0,
                         codebook.shape[0], payload.shape[0])  # fmt: skip
    directory = payload[:0] if sizes is None else sizes.to(torch.int32).view(torch.uint8)
    head = torch.frombuffer(bytearray(header), dtype=torch.uint8).to(payload.device)
    return torch.cat([head, codebook, directory, payload])


def huffman_book(lengths: Tensor) -> tuple[int, int, Tensor]:
    used = lengths[lengths > 0].long()
    smallest = int(used.min())
    width = (int(used.max()) - smallest + 1).bit_length()
    stored = torch.where(lengths > 0, lengths.long() - smallest + 1, 0)
    return smallest, width, _pad(pack_bits_ref(stored.to(torch.uint8), width))


def rans_book(frequencies: Tensor) -> tuple[int, int, Tensor]:
    used = frequencies > 0
    stored = (frequencies[used] - 1).to(torch.int32).to(torch.uint16)
    return 0, 0, _pad(torch.cat([pack_bits_ref(used.to(torch.uint8), 1), pack_bits_ref(stored, RANS_BITS)]))


def _pad(book: Tensor) -> Tensor:
    return torch.nn.functional.pad(book, (0, -book.shape[0] % 4))


def fixed_size(n: int, bits: int) -> int:
    return HEADER.size + -(-n * bits // 8)


def raw_size(n: int, dtype: torch.dtype) -> int:
    return HEADER.size + n * dtype.itemsize


def coded_size(n: int, codebook: Tensor, bits: int) -> int:
    """What a huffman or rans record is taken to need before it is encoded; bits: of all codes."""
    return HEADER.size + codebook.shape[0] + 4 * chunk_count(n) + -(-bits // 8) + 3 * lane_total(n)


def huffman_bits(counts: Tensor, lengths: Tensor) -> int:
    return int((counts * lengths.long()).sum())


def rans_bits(counts: Tensor, frequencies: Tensor) -> int:
    used = frequencies > 0
    return math.ceil(float((counts[used] * (RANS_BITS - frequencies[used].double().log2())).sum()))


# ---- reading ----


def check(holds: bool, what: str) -> None:
    if not holds:
        raise CorruptDataError(f"decompress_weights: {what}")


class Header(NamedTuple):
    """The header of a record, and how many bytes the record has by it."""

    codec: int
    dtype: torch.dtype
    bits: int
    n: int
    lo: float
    hi: float
    smallest: int
    width: int
    book_bytes: int
    directory_bytes: int
    payload_bytes: int

    @property
    def size(self) -> int:
        return HEADER.size + self.book_bytes + self.directory_bytes + self.payload_bytes


def read_header(data: Tensor) -> Header:
    """Checks the header of a record of data.shape[0] bytes; reads no others."""
    check(data.shape[0] >= HEADER.size, f"a record has {HEADER.size} bytes at least, got {data.shape[0]}")
    header = unpack_header(data)
    check(header.size == data.shape[0], f"the record has {header.size} bytes, got {data.shape[0]}")
    return header


def unpack_header(data: Tensor) -> Header:
    (magic, version, codec, dtype_id, bits, n, lo, hi, smallest, width, chunk, zero, book_bytes, payload_bytes) = (
        HEADER.unpack(bytes(data[: HEADER.size].tolist()))
    )
    check(magic == MAGIC, "data is no record of compressed weights")
    check(version == VERSION, f"unknown version {version}")
    check(codec <= RANS, f"unknown codec {codec}")
    check(dtype_id < len(DTYPES), f"unknown dtype {dtype_id}")
    check(zero == 0, "a reserved byte is not 0")
    check(n <= 2**62, f"{n} elements are too many")
    dtype = DTYPES[dtype_id]
    _check_range(codec, dtype, bits, lo, hi)
    coded = codec in (HUFFMAN, RANS)
    check((smallest, width) == (0, 0) or codec == HUFFMAN, "only huffman has lengths")
    check(chunk == (CHUNK_BITS if coded else 0), f"unknown chunk size 2^{chunk}")
    check(n > 0 or codec == RAW, "an empty tensor is raw")
    directory = 4 * chunk_count(n) if coded else 0
    expected = {RAW: n * dtype.itemsize, CONSTANT: 0, FIXED: -(-n * bits // 8)}.get(codec, payload_bytes)
    check(payload_bytes == expected, f"the payload has {payload_bytes} bytes, not {expected}")
    check(coded or book_bytes == 0, "only huffman and rans have a codebook")
    return Header(codec, dtype, bits, n, lo, hi, smallest, width, book_bytes, directory, payload_bytes)


def read(data: Tensor) -> Record:
    """Checks a record (uint8, one dimension) and takes it apart."""
    h = read_header(data)
    book, directory, payload = data[HEADER.size :].split([h.book_bytes, h.directory_bytes, h.payload_bytes])
    if h.codec == FIXED:
        _check_zero(payload, h.n * h.bits)
    symbols = sizes = None
    if h.codec in (HUFFMAN, RANS):
        huffman = h.codec == HUFFMAN
        symbols = _read_lengths(book, h.bits, h.smallest, h.width) if huffman else _read_frequencies(book, h.bits)
        b = directory.long().view(-1, 4)
        sizes = b[:, 0] | b[:, 1] << 8 | b[:, 2] << 16 | b[:, 3] << 24
    return Record(h.codec, h.dtype, h.bits, h.n, h.lo, h.hi, symbols, sizes, payload)


def _check_range(codec: int, dtype: torch.dtype, bits: int, lo: float, hi: float) -> None:
    if codec in (RAW, CONSTANT):
        check(bits == 0, "bits of a tensor that is not quantized")
    else:
        check(1 <= bits <= 16, f"{bits} bits")
    for bound in (lo, hi):
        check(math.isfinite(bound), f"the range ends at {bound}")
        check(math.copysign(1.0, bound) > 0 or bound != 0, "the range ends at -0")
        check(float(torch.tensor(bound, dtype=torch.float64).to(dtype)) == bound, f"{bound} is no {dtype}")
    if codec == RAW:
        check(lo == 0 == hi, "a raw tensor has no range")
    elif codec == CONSTANT:
        check(lo == hi, "the range of a constant")
    else:
        check(lo < hi, f"the range goes from {lo} to {hi}")
        ends = torch.tensor([lo, hi], dtype=torch.float64 if dtype is torch.float64 else torch.float32)
        try:
            grid("decompress_weights", ends[0], ends[1], bits)
        except ValueError as e:
            raise CorruptDataError(str(e)) from None


def _check_zero(packed: Tensor, used_bits: int) -> None:
    """That everything after the first used_bits bits is 0."""
    whole, rest = divmod(used_bits, 8)
    tail = packed[whole:].clone()
    if rest:
        tail[0] >>= rest
    check(not bool(tail.any()), "unused bits are not 0")


def _read_lengths(book: Tensor, bits: int, smallest: int, width: int) -> Tensor:
    bins = 1 << bits
    check(1 <= smallest <= 16 and 1 <= width <= 5, f"lengths from {smallest} with {width} bits each")
    check(book.shape[0] == 4 * -(-bins * width // 32), "the codebook has the wrong size")
    _check_zero(book, bins * width)
    stored = unpack_bits_ref(book[: -(-bins * width // 8)], width, bins).long()
    lengths = torch.where(stored > 0, stored + smallest - 1, 0)
    check(complete(lengths), "the lengths are of no Huffman code")
    check(bool((stored == 1).any()), f"no code has the smallest length {smallest}")
    check(int(stored.max()).bit_length() == width, f"lengths with {width} bits each")
    return lengths


def _read_frequencies(book: Tensor, bits: int) -> Tensor:
    bins = 1 << bits
    marks = -(-bins // 8)
    check(book.shape[0] >= marks, "the codebook is too small")
    used = unpack_bits_ref(book[:marks], 1, bins).bool()
    _check_zero(book[:marks], bins)
    count = int(used.sum())
    size = -(-count * RANS_BITS // 8)
    check(book.shape[0] == 4 * -(-(marks + size) // 4), "the codebook has the wrong size")
    _check_zero(book[marks:], count * RANS_BITS)
    frequencies = torch.zeros(bins, dtype=torch.int64, device=book.device)
    frequencies[used] = unpack_bits_ref(book[marks : marks + size], RANS_BITS, count).long() + 1
    check(int(frequencies.sum()) == RANS_TOTAL, "the frequencies do not add up")
    return frequencies

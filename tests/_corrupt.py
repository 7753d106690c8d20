"""What the tests of corrupt records share: what a decoder may do with any bytes, and how records are forged."""

import contextlib
import ctypes
import mmap

import torch

from effdl_fast import _C, ops
from effdl_fast.errors import CorruptDataError
from effdl_fast.ops import _weights_record as record
from effdl_fast.ops._weights_lanes import encode, huffman_code, rans_code
from effdl_fast.testing.backends import simd

from ._golden import RECORDS, data_of, path_of

GOLDEN = {golden.name: path_of(golden).read_bytes() for golden in RECORDS}
DIRECTORY_OF = (record.HUFFMAN, record.RANS)


def tensor(data, device="cpu"):
    return (
        torch.frombuffer(bytearray(data), dtype=torch.uint8).to(device) if data else torch.empty(0, dtype=torch.uint8)
    )


def header(data):
    """codec, dtype, bits, n of a valid record."""
    codec, dtype, bits, n, *_ = _C.weights_header(data)
    return codec, record.DTYPES[dtype], bits, n


def decoded(data, out, level=None, sentinel=-1.0):
    """Whether `data` is decoded to `out`; if not, it is refused. Nothing else may happen."""
    out.fill_(sentinel)
    with simd(level):
        try:
            back = ops.decompress_weights(tensor(data, out.device), out=out)
        except CorruptDataError:
            return False
        except ValueError as e:  # a valid record, but not of the caller's number of elements
            assert str(e).startswith("decompress_weights: out must have "), e
            return False
    assert back is out
    return True


def same_bits(a, b):
    return torch.equal(a.cpu().view(torch.uint8), b.cpu().view(torch.uint8))


class Twice:
    """Decodes on a backend and on the scalar level. The outputs begin with other values, so that one that is not wholly
    written shows."""

    def __init__(self, n, dtype, backend):
        self.level = backend.simd
        self.ours = torch.empty(n, dtype=dtype, device=backend.device)
        self.scalar = torch.empty(n, dtype=dtype)

    def decode(self, data):
        """Whether both read it."""
        read = decoded(data, self.ours, self.level)
        assert read == decoded(data, self.scalar, "scalar", sentinel=-2.0), "only one of them refuses it"
        assert not read or same_bits(self.ours, self.scalar)
        return read


def flipped(data, position, bits):
    altered = bytearray(data)
    altered[position] ^= bits
    return bytes(altered)


# ---- forgery ----

FIELDS = ("magic", "version", "codec", "dtype", "bits", "n", "lo", "hi", "smallest", "width", "chunk", "zero", "book",
          "payload")  # fmt: skip


class Forged:
    """A record to be altered: header fields by name, codebook, sizes of the chunks, payload."""

    def __init__(self, data):
        self.fields = dict(zip(FIELDS, record.HEADER.unpack(data[: record.HEADER.size]), strict=True))
        rest = data[record.HEADER.size :]
        self.codebook, rest = rest[: self.fields["book"]], rest[self.fields["book"] :]
        chunks = -(-self.fields["n"] // 32768) if self.fields["codec"] in DIRECTORY_OF else 0
        self.sizes = [int.from_bytes(rest[4 * c : 4 * c + 4], "little") for c in range(chunks)]
        self.payload = rest[4 * chunks :]

    def bytes(self, **changes):
        """With the sizes of its parts in the header, unless `changes` says otherwise."""
        fields = {**self.fields, "book": len(self.codebook), "payload": len(self.payload), **changes}
        directory = b"".join(size.to_bytes(4, "little") for size in self.sizes)
        return record.HEADER.pack(*(fields[f] for f in FIELDS)) + self.codebook + directory + self.payload


def forged(name):
    return Forged(GOLDEN[name])


def huffman_record(lengths, codes, *, bits, book=None, dtype=torch.float32):
    """A record with these lengths, whether or not an encoder would choose them. book: another codebook than theirs."""
    lengths, codes = torch.tensor(lengths, dtype=torch.uint8), torch.tensor(codes)
    payload, sizes = encode(codes, huffman_code(lengths))
    return data_of(record.write(record.HUFFMAN, dtype, len(codes), payload, bits=bits, lo=0.0, hi=1.0,
                                book=book or record.huffman_book(lengths), sizes=sizes))  # fmt: skip


def rans_record(frequencies, codes, *, bits, book=None):
    frequencies, codes = torch.tensor(frequencies), torch.tensor(codes)
    payload, sizes = encode(codes, rans_code(frequencies))
    return data_of(record.write(record.RANS, torch.float32, len(codes), payload, bits=bits, lo=0.0, hi=1.0,
                                book=book or record.rans_book(frequencies), sizes=sizes))  # fmt: skip


# ---- memory that ends ----


@contextlib.contextmanager
def guarded(size):
    """`size` writable bytes, before and behind which are pages that nobody may touch: a ctypes array at the end of its
    page. Linux only."""
    page = mmap.PAGESIZE
    inner = -(-max(size, 1) // page) * page
    area = mmap.mmap(-1, inner + 2 * page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for edge in (start, start + page + inner):
        assert protect(edge, page, 0) == 0, ctypes.get_errno()
    try:
        yield (ctypes.c_uint8 * size).from_address(start + page + inner - size)
    finally:
        for edge in (start, start + page + inner):
            protect(edge, page, mmap.PROT_READ | mmap.PROT_WRITE)

"""Containers that are truncated, altered, or lie under valid checksums: CorruptDataError, and nothing is allocated."""

import random
import struct
from dataclasses import replace

import pytest
import torch

import effdl_fast as ef
from effdl_fast import _C
from effdl_fast import compress as C
from effdl_fast.compress import _format
from effdl_fast.compress._format import ALIAS, RAW, RECORD
from effdl_fast.errors import CorruptDataError

from ._compress import container, weights


def decode_all(data, path):
    """Every way in."""
    with pytest.raises(CorruptDataError):
        C.decompress(data)
    with pytest.raises(CorruptDataError):
        C.inspect(data, verify=True)
    path.write_bytes(data)
    with pytest.raises(CorruptDataError):
        C.load(path)
    with pytest.raises(CorruptDataError), C.Reader(path) as reader:
        for name in reader:
            reader[name]


def test_every_prefix(tmp_path):
    data, _ = container()
    assert len(data) > 700
    for size in range(len(data)):
        with pytest.raises(CorruptDataError):
            C.decompress(data[:size])
    for size in (0, 1, 63, 64, 200, len(data) - 32, len(data) - 1):
        decode_all(data[:size], tmp_path / "m")


def test_every_byte(tmp_path):
    data, _ = container()
    for position in range(len(data)):
        for flip in (0x01, 0x80, 0xFF):
            altered = bytearray(data)
            altered[position] ^= flip
            with pytest.raises(CorruptDataError):
                C.decompress(altered)
    for position in (0, 4, 5, 20, 70, 600, len(data) - 40, len(data) - 3):
        altered = bytearray(data)
        altered[position] ^= 0x10
        decode_all(bytes(altered), tmp_path / "m")


def test_every_bit_of_a_single_tensor():
    data = C.compress(weights(60))
    for bit in range(8 * len(data)):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptDataError):
            C.decompress(altered)


def test_trailing_bytes(tmp_path):
    data, _ = container()
    for more in (b"\0", bytes(64), b"EFWE", data[-32:], data):
        decode_all(data + more, tmp_path / "m")
        decode_all(more + data, tmp_path / "m")


# ---- lies under valid checksums ----


class Forged:
    """A container to be altered: the tensors' bytes as they are, entries, metadata and header as one likes."""

    def __init__(self, data=None):
        data = data or container()[0]
        held = C.reader.Container(memoryview(data)).directory
        self.entries, self.metadata, self.single = list(held.entries), held.metadata, held.single
        self.body = bytes(data[64 : len(data) - held.size + 64])

    def index(self, name):
        return next(i for i, e in enumerate(self.entries) if e.name == name)

    def change(self, name, /, **fields):
        i = self.index(name)
        self.entries[i] = replace(self.entries[i], **fields)
        return self

    def bytes(self, header=None, alter=lambda directory: directory, total=0, at=0):
        header = header or _format.header(self.single)
        ending = _format.ending(self.entries, self.metadata, self.single, 64 + len(self.body))
        directory = alter(ending[:-32])
        offset = 64 + len(self.body)
        footer = struct.pack("<QQQ", offset + at, len(directory) - at, offset + len(directory) + 32 + total)
        crc = _C.crc32c(directory + footer, _C.crc32c(header))
        return header + self.body + directory + footer + struct.pack("<I4s", crc, b"EFWE")


def refused(data, message):
    with pytest.raises(CorruptDataError, match=message):
        C.decompress(data)
    with pytest.raises(CorruptDataError, match=message):
        C.inspect(data)


def test_the_forger_forges():
    data, _ = container()
    assert Forged(data).bytes() == data


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"EFWR\x01\0", "does not begin as one"),
        (b"EFWC\0\0", "version 0 is not known"),
        (b"EFWC\x02\0", "version 2 is not known"),
        (b"EFWC\x01\x02", "unknown flags"),
        (b"EFWC\x01\x80", "unknown flags"),
        (b"EFWC\x01\0\x01", "unknown flags"),
        (b"EFWC\x01\0" + bytes(57) + b"\x01", "unknown flags"),
        (b"EFWC\x01\x01", "names of tensors"),
    ],
)
def test_headers(header, message):
    refused(Forged().bytes(header.ljust(64, b"\0")), message)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("w", {"shape": (20, 13)}, "the record of 'w' is not of its shape and dtype"),
        ("w", {"shape": (240,) + (1,) * 64}, "unknown kind or dtype"),
        ("w", {"shape": (2**32, 2**32)}, "the shape of 'w' overflows"),
        ("w", {"shape": (2**63,)}, "the shape of 'w' overflows"),
        ("w", {"shape": (2**64 - 1, 2**64 - 1, 2**64 - 1)}, "the shape of 'w' overflows"),
        ("w", {"shape": (0, 2**63)}, "the shape of 'w' overflows"),
        ("w", {"shape": (2**61,)}, "the shape of 'w' overflows"),
        ("w", {"shape": (2**60,)}, "the record of 'w' is not of its shape and dtype"),
        ("h", {"shape": ()}, "the record of 'h' is not of its shape and dtype"),
        ("h", {"dtype": torch.float64}, "the record of 'h' is not of its shape and dtype"),
        ("w", {"dtype": torch.int32}, "the size of 'w' does not fit"),
        ("w", {"kind": RAW}, "the size of 'w' does not fit"),
        ("w", {"kind": 3}, "unknown kind"),
        ("steps", {"dtype": torch.int32}, "the size of 'steps' does not fit"),
        ("steps", {"shape": (4,)}, "the size of 'steps' does not fit"),
        ("steps", {"kind": RECORD, "dtype": torch.float32}, "a record has|weights"),
        ("w", {"size": 10}, "'tied' is|'steps' does not begin"),
        ("w", {"size": 2**64 - 1}, "'w' does not begin"),
        ("w", {"offset": 0}, "'w' does not begin"),
        ("w", {"offset": 2**64 - 1}, "'w' does not begin"),
        ("steps", {"offset": 64}, "'steps' does not begin"),
        ("h", {"size": 1}, "do not end where the directory begins|'h'"),
        ("h", {"size": 2**63}, "'h' does not begin"),
        ("h", {"name": "w"}, "names of tensors occur twice"),
        ("tied", {"size": 1}, "cannot be a part of"),
        ("tied", {"size": 2}, "cannot be a part of"),
        ("tied", {"size": 2**64 - 1}, "cannot be a part of"),
        ("tied", {"dtype": torch.float16}, "cannot be a part of"),
        ("tied", {"crc": 1}, "cannot be a part of"),
        ("tied", {"offset": 1}, "more than a part of 'w'"),
        ("tied", {"offset": 2**64 - 1}, "more than a part of 'w'"),
        ("tied", {"shape": (12, 21)}, "'tied' is said to be more|overlaps itself"),
        ("tied", {"shape": (21, 12)}, "overlaps itself"),
        ("tied", {"strides": (1, 11)}, "overlaps itself"),
        ("tied", {"strides": (0, 12)}, "overlaps itself"),
        ("tied", {"strides": (1, 2**64 - 1)}, "overlaps itself"),
        ("tied", {"strides": (1, 2**62)}, "more than a part of 'w'"),
        ("tied", {"shape": (1, 1), "strides": (2**63, 1)}, "overlaps itself"),
        ("tied", {"shape": (0, 12)}, "overlaps itself"),
    ],
)
def test_entries(name, fields, message):
    refused(Forged().change(name, **fields).bytes(), message)


def test_unknown_dtype_codes():
    for code in (42, 255):
        data = Forged().bytes(alter=lambda d, code=code: d[:17] + bytes([code]) + d[18:])
        refused(data, "unknown kind or dtype")
    data = Forged().bytes(alter=lambda d: d[:44] + b"\x01" + d[45:])
    refused(data, "unknown kind or dtype")


def test_a_dtype_that_this_torch_lacks(monkeypatch):
    data = C.compress(torch.zeros(3, dtype=torch.float8_e5m2))
    monkeypatch.delattr(torch, "float8_e5m2")
    refused(data, "has no float8_e5m2")


@pytest.mark.parametrize("counts", [(6, 0), (5, 1), (4, 0), (2**64 - 1, 0), (2**32, 2**60), (0, 0), (5, 2**63)])
def test_counts_of_the_directory(counts):
    refused(Forged().bytes(alter=lambda d: struct.pack("<QQ", *counts) + d[16:]), "container: ")


def test_bytes_between_or_behind_entries():
    refused(Forged().bytes(alter=lambda d: d + b"\0"), "does not end where its entries do")
    refused(Forged().bytes(alter=lambda d: d[:-1]), "past the end of the directory")
    refused(Forged().bytes(total=1), "truncated, or has bytes after its end")
    refused(Forged().bytes(total=-64), "truncated, or has bytes after its end")
    for at in (-64, 64):
        refused(Forged().bytes(at=at), "container: ")
    forged = Forged()
    forged.body += bytes(64)
    refused(forged.bytes(), "do not end where the directory begins")


def test_names_and_metadata():
    forged = Forged()
    forged.metadata = {"key": "value"}
    assert C.inspect(forged.bytes()).metadata == {"key": "value"}
    refused(forged.bytes(alter=lambda d: d[:-3] + b"\xff\xfe\xfd"), "not UTF-8")
    refused(forged.bytes(alter=lambda d: d.replace(b"steps", b"step\xc3")), "not UTF-8")
    pair = struct.pack("<II", 3, 5) + b"keyvalue"
    twice = forged.bytes(alter=lambda d: d[:8] + struct.pack("<Q", 2) + d[16:] + pair)
    refused(twice, "does not end where its entries do")
    long = forged.bytes(alter=lambda d: d.replace(pair, struct.pack("<II", 3, 2**32 - 1) + b"keyvalue"))
    refused(long, "past the end of the directory")


def test_swapped_entries():
    """Both inside the file, but not in order: their bytes would have to be looked for."""
    forged = Forged()
    i, j = forged.index("steps"), forged.index("h")
    forged.entries[i], forged.entries[j] = forged.entries[j], forged.entries[i]
    refused(forged.bytes(), "does not begin where the tensor before it ends")


def test_overlapping_entries():
    forged = Forged()
    w = forged.entries[forged.index("w")]
    forged.entries.append(replace(w, name="again"))
    refused(forged.bytes(), "does not begin where the tensor before it ends")


def test_padding_is_checked_with_its_tensor():
    data, _ = container()
    forged = Forged(data)
    steps = forged.entries[forged.index("steps")]
    for position in (steps.offset + steps.size, steps.offset + 63):
        altered = bytearray(data)
        altered[position] = 1
        with pytest.raises(CorruptDataError, match="the checksum of 'steps' does not fit"):
            C.decompress(altered)


def test_records_that_lie_under_a_valid_checksum():
    """What the record's own checks find comes out as CorruptDataError too: every byte of it, with the CRC mended."""
    data = C.compress({"w": weights(5000, seed=1)})
    forged = Forged(data)
    w = forged.entries[0]
    start = w.offset - 64
    kept = bytes(forged.body)
    decoded = C.decompress(data)["w"]
    for position in [*range(48), *range(48, w.size, 97)]:
        altered = bytearray(kept)
        altered[start + position] ^= 0x41
        forged.body = bytes(altered)
        forged.entries[0] = replace(w, crc=_C.crc32c(altered[start : start + w.size]))
        try:
            back = C.decompress(forged.bytes())["w"]
        except CorruptDataError:
            continue
        # Some bytes are free: the range, and words whose states come out right by chance.
        assert back.shape == decoded.shape and back.dtype == decoded.dtype


def test_nothing_is_allocated_for_a_lie(monkeypatch):
    """A shape of 2^50 elements over the record of 240 is found before memory is asked for."""
    forged = Forged().change("w", shape=(2**50,))
    monkeypatch.setattr(torch, "empty", lambda *a, **k: pytest.fail("memory was asked for"))
    with pytest.raises(CorruptDataError):
        C.decompress(forged.bytes())


def test_a_constant_of_many_elements_needs_max_elements():
    forged = Forged(C.compress({"flat": torch.full((40,), 0.5)}))
    record = bytearray(forged.body[:48])
    record[8:16] = struct.pack("<Q", 2**40)
    forged.body = bytes(record) + bytes(16)
    forged.change("flat", shape=(2**40,), crc=_C.crc32c(record))
    assert C.inspect(forged.bytes()).elements == 2**40
    with pytest.raises(CorruptDataError, match="more than max_elements=1000"):
        C.decompress(forged.bytes(), max_elements=1000)


def test_random_changes_of_the_directory_under_a_valid_checksum():
    """Whatever a directory says, it is refused as corrupt or can be decoded; no other error, and no crash."""
    choose = random.Random(0)
    outcomes = {"refused": 0, "decoded": 0}
    forged = Forged()
    forged.metadata = {"key": "value"}

    def alter(directory):
        changed = bytearray(directory)
        for _ in range(choose.choice((1, 1, 2, 4))):
            at = choose.randrange(len(changed))
            changed[at] = choose.choice((0, 1, 2, 63, 64, 65, 127, 128, 255, changed[at] ^ (1 << choose.randrange(8))))
        return bytes(changed)

    for _ in range(5000):
        try:
            C.decompress(forged.bytes(alter=alter), max_elements=10**6)
            outcomes["decoded"] += 1
        except CorruptDataError:
            outcomes["refused"] += 1
    assert outcomes["refused"] > 3000 and outcomes["decoded"] > 20, outcomes


def test_alias_entries_do_not_count_as_elements():
    data, state = container()
    stored = sum(x.numel() for name, x in state.items() if name != "tied")
    assert C.decompress(data, max_elements=stored).keys() == state.keys()
    assert any(e.kind == ALIAS for e in Forged(data).entries)
    assert issubclass(ef.CorruptDataError, ValueError)

"""CRC-32C: known vectors, the instruction against the tables, what it takes and refuses."""

import random

import pytest
import torch

from effdl_fast import _C

LEVELS = _C.build_info()["simd_levels"]

# RFC 3720 appendix B.4; the check value of the CRC catalogue; nothing at all.
VECTORS = {
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(range(31, -1, -1)): 0x113FDB5C,
    bytes.fromhex(
        "01c00000000000000000000000000000140000000000040000000014000000182800000000000000" + "0200000000000000"
    ): 0xD9963A56,
    b"123456789": 0xE3069283,
    b"": 0,
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(("data", "crc"), VECTORS.items())
def test_known_vectors(level, data, crc):
    _C.set_simd_level(level)
    assert _C.crc32c(data) == crc
    assert _C.last_kernel().startswith("crc32c.")


def test_instruction_and_tables_agree():
    """Lengths on both sides of every loop's limit (three streams of 256 and of 8192 bytes, 8 bytes), unaligned too."""
    data = random.Random(0).randbytes(60_000)
    for n in (0, 1, 7, 8, 9, 767, 768, 769, 1543, 24_575, 24_576, 24_577, 25_345, 59_000):
        for start in (0, 1, 5):
            part, cut = data[start : start + n], n // 3
            crcs = set()
            for level in LEVELS:
                _C.set_simd_level(level)
                crcs |= {_C.crc32c(part), _C.crc32c(part[cut:], initial=_C.crc32c(part[:cut]))}
            assert len(crcs) == 1, (n, start)


def test_a_flipped_bit_shows():
    data = bytearray(random.Random(1).randbytes(30_000))
    before = _C.crc32c(data)
    for position in (0, 8191, 8192, 24_575, 24_576, 29_999):
        data[position] ^= 1
        assert _C.crc32c(data) != before
        data[position] ^= 1


def test_buffers_and_tensors():
    x = torch.arange(100, dtype=torch.uint8)
    expected = _C.crc32c(bytes(range(100)))
    for data in (x, x.numpy(), bytearray(range(100)), memoryview(bytes(range(100))), x.numpy().view("int32")):
        assert _C.crc32c(data) == expected
    assert _C.crc32c(torch.empty(0, dtype=torch.uint8)) == 0


@pytest.mark.parametrize("data", [torch.zeros(4), torch.zeros(8, dtype=torch.uint8)[::2], 3, "text"])
def test_other_data_are_refused(data):
    with pytest.raises(TypeError, match="crc32c: data must be"):
        _C.crc32c(data)
    with pytest.raises(BufferError):
        _C.crc32c(memoryview(b"abcd")[::2])

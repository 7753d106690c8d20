"""unpack_bits on every backend."""

import pytest
import torch

from effdl_fast.ops import pack_bits
from effdl_fast.testing.backends import forced

from ._weights import *  # noqa: F403
from ._weights import integers

OP = "unpack_bits"


@pytest.mark.parametrize("bits", range(1, 17))
def test_reverses_pack_bits(op, backend, bits):
    generator = torch.Generator().manual_seed(bits)
    dtype = torch.uint8 if bits <= 8 else torch.uint16
    for n in (*range(0, 35), 63, 64, 65, 127, 129, 1000, 300_001):
        codes = torch.randint(1 << bits, (n,), generator=generator).to(torch.int32).to(dtype).to(backend.device)
        packed = pack_bits(codes, bits)
        with forced(backend, op.name):
            assert torch.equal(op.run(packed, bits, n), codes)


@pytest.mark.parametrize("bits", [3, 5, 11, 16])
def test_against_one_large_integer(op, backend, bits):
    packed = torch.randint(256, (77,), generator=torch.Generator().manual_seed(bits)).to(torch.uint8)
    number = int.from_bytes(bytes(packed.tolist()), "little")
    n = 77 * 8 // bits
    size = -(-n * bits // 8)
    codes = op.run(packed[:size].to(backend.device), bits, n)
    assert codes.tolist() == [number >> (i * bits) & ((1 << bits) - 1) for i in range(n)]


def test_unused_bits_are_not_looked_at(op, backend):
    packed = torch.full((1,), 255, dtype=torch.uint8, device=backend.device)
    assert op.run(packed, 3, 2).tolist() == [7, 7]
    assert op.run(packed, 3, 1).tolist() == [7]


def test_strided_bytes(op, backend):
    packed = torch.tensor([1, 99, 2, 99, 3, 99], dtype=torch.uint8, device=backend.device)[::2]
    with forced(backend, op.name):
        assert op.run(packed, 8, 3).tolist() == [1, 2, 3]


def test_number_of_bytes(op):
    for function in (op.run, op.ref):
        for size in (2, 4):
            with pytest.raises(ValueError, match=f"packed must have 3 bytes for 5 codes of 4 bits, got {size}"):
                function(torch.zeros(size, dtype=torch.uint8), 4, 5)


def test_errors(op):
    packed = torch.zeros(3, dtype=torch.uint8)
    integers(op, "bits", lambda bits: op.run(packed, bits, 3), 1, 16)
    integers(op, "n", lambda n: op.run(packed, 8, n), 0, 2**56)
    with pytest.raises(TypeError, match="unpack_bits: packed must be uint8, got int64"):
        op.run(packed.long(), 8, 3)
    with pytest.raises(ValueError, match=r"unpack_bits: packed must have one dimension, got shape \(3, 1\)"):
        op.run(packed[:, None], 8, 3)
    with pytest.raises(TypeError, match=r"unpack_bits: packed must be a torch.Tensor, got bytes"):
        op.run(b"123", 8, 3)

"""pack_bits on every backend."""

import pytest
import torch

from effdl_fast.testing.backends import forced

from ._weights import *  # noqa: F403
from ._weights import integers, wrong_codes

OP = "pack_bits"


def as_one_number(codes, bits):
    """The packed bytes by way of one large integer."""
    number = sum(int(c) << (i * bits) for i, c in enumerate(codes.tolist()))
    return list(number.to_bytes(-(-len(codes) * bits // 8), "little"))


@pytest.mark.parametrize("bits", range(1, 17))
def test_against_one_large_integer(op, backend, bits):
    generator = torch.Generator().manual_seed(bits)
    for n in (*range(0, 35), 63, 64, 65, 127, 129, 1000):
        codes = torch.randint(1 << bits, (n,), generator=generator)
        codes[-1:] = (1 << bits) - 1
        for dtype in (torch.uint8, torch.uint16) if bits <= 8 else (torch.uint16,):
            with forced(backend, op.name):
                packed = op.run(codes.to(torch.int32).to(dtype).to(backend.device), bits)
            assert packed.tolist() == as_one_number(codes, bits)


def test_first_code_is_in_the_lowest_bits(op, backend):
    codes = torch.tensor([1, 2, 7], dtype=torch.uint8, device=backend.device)
    assert op.run(codes, 3).tolist() == [0b11_010_001, 0b1]


def test_codes_that_do_not_fit(op, backend):
    torch.set_num_threads(2)
    for bits, dtype in ((1, torch.uint8), (7, torch.uint8), (7, torch.uint16), (15, torch.uint16)):
        for n, place in ((1, 0), (70, 69), (300_000, 222_222)):
            codes = torch.zeros(n, dtype=torch.int32)
            codes[place] = 1 << bits
            codes = codes.to(dtype).to(backend.device)
            if backend.device.type == "cuda":
                assert not op.run(codes, bits).any()
                continue
            for function in (op.run, op.ref):
                with pytest.raises(ValueError, match=rf"pack_bits: codes must be below 2\^bits = {1 << bits}"):
                    function(codes, bits)


def test_bits(op):
    integers(op, "bits", lambda bits: op.run(torch.zeros(3, dtype=torch.uint8), bits), 1, 8)
    integers(op, "bits", lambda bits: op.run(torch.zeros(3, dtype=torch.uint16), bits), 1, 16)


def test_dtypes(op):
    wrong_codes(op, lambda codes: op.run(codes, 8))

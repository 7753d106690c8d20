"""Outputs of 8 MiB and more are written past the cache and into huge pages: the same values, aligned or not."""

import pytest
import torch

from effdl_fast import ops
from effdl_fast.testing.backends import simd

OP = "decompress_weights"  # whose backends are every SIMD level and device
N = (8 << 20) // 4 + 5003  # float32 elements; the last tile and the last vector are not full


@pytest.fixture(scope="module")
def weights():
    x = torch.randn(N, generator=torch.Generator().manual_seed(0))
    return x, {bits: ops.dequantize_ref(ops.quantize_ref(x, bits)) for bits in (7, 11)}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("bits", [7, 11])
def test_large_outputs(weights, bits, threads, backend):
    x, values = weights[0].to(backend.device), weights[1][bits]
    torch.set_num_threads(threads)
    with simd(backend.simd):
        q = ops.quantize(x, bits)
        assert torch.equal(ops.dequantize(q).cpu(), values)
        assert torch.equal(ops.dequantize(q, torch.bfloat16).cpu(), values.bfloat16())
        for codec in ("huffman", "fixed"):
            record = ops.compress_weights(x, bits=bits, codec=codec)
            assert torch.equal(ops.decompress_weights(record).cpu(), values)
            for offset in (1, 8, 16):  # elements from the beginning of an allocation
                room = torch.full((N + 2 * offset,), 7.0, device=backend.device)
                out = room[offset : offset + N]
                ops.decompress_weights(record, out=out)
                assert torch.equal(out.cpu(), values)
                assert set(room[:offset].tolist()) == set(room[offset + N :].tolist()) == {7.0}

"""Codes, records and layers do not depend on torch.set_flush_denormal, which is set per thread."""

from collections.abc import Callable, Iterable, Iterator

import pytest
import torch

from effdl_fast import _C, ops

LEVELS = _C.build_info()["simd_levels"]


@pytest.fixture(autouse=True)
def flush() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("this CPU cannot flush subnormal numbers")
    yield
    torch.set_flush_denormal(False)


def _weights(dtype: torch.dtype, n: int) -> torch.Tensor:
    """Subnormal in their dtype, all of them, with the extreme at the end; made of bits, as arithmetic would flush."""
    g = torch.Generator().manual_seed(0)
    if dtype is torch.float16:
        bits = torch.randint(1, 0x300, (n,), generator=g, dtype=torch.int16)
        bits[-1] = 0x3FF
    else:
        bits = torch.randint(1, 0x300000, (n,), generator=g, dtype=torch.int32)
        bits[-1] = 0x3FFFFF
    return bits.view(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [37, 5000, 1 << 18])
def test_records_of_subnormal_weights(dtype: torch.dtype, level: str, n: int) -> None:
    _C.set_simd_level(level)
    x = _weights(dtype, n)
    records = []
    for flushing in (True, False):
        torch.set_flush_denormal(flushing)
        for threads in (1, 2):
            torch.set_num_threads(threads)
            records.append(ops.compress_weights(x, bits=6))
    assert all(torch.equal(records[0], r) for r in records)
    torch.set_flush_denormal(True)
    back = torch.empty_like(x)
    ops.decompress_weights(records[0], out=back)
    torch.set_flush_denormal(False)
    bits = x.view(torch.int16 if dtype is torch.float16 else torch.int32).double()  # exact: bits count the smallest
    error = (back.view(torch.int16 if dtype is torch.float16 else torch.int32).double() - bits).abs().max()
    assert error <= (bits.max() - bits.min()) / 2**7 + 1


@pytest.mark.parametrize("level", LEVELS)
def test_ranges_of_subnormal_weights(level: str) -> None:
    _C.set_simd_level(level)
    for dtype, view in ((torch.float16, torch.int16), (torch.float32, torch.int32)):
        x = _weights(dtype, 100)
        q = ops.quantize(x, 4)
        torch.set_flush_denormal(False)
        bits = x.view(view)
        assert float(q.hi) == float(x.double().max()) and float(q.lo) == float(x.double().min())
        assert int(q.codes.max()) == 15 and int(q.codes[bits.argmin()]) == 0
        torch.set_flush_denormal(True)


def _layers() -> dict[str, Callable[[], Iterable[torch.Tensor | None]]]:
    """Products and sums among the subnormal numbers of float32, or of float64 in the two that sum in it."""
    g = torch.Generator().manual_seed(0)
    x, w, y = torch.randn(4000, 40, generator=g), torch.randn(41, 50, generator=g), torch.randn(4000, 2, generator=g)
    x, w, y = x * 1e-22, w * 1e-18, y * 1e-22
    w[0] = 0
    moments = torch.stack([ops.layer_moments(x + i, None, y).moments * 1e-310 for i in range(300)])
    moments[:, 0, 0] = 1.0
    return {
        "mlp_forward": lambda: [ops.mlp_forward(x, [w], "relu")],
        "mlp_moments": lambda: [ops.mlp_moments(x, [w], y, "relu")],
        "mlp_moments, no layer": lambda: [ops.mlp_moments(x, [], y)],
        "mlp_moments, precise": lambda: [ops.mlp_moments(x, [w], y, "relu", precise=True)],
        "layer_moments": lambda: ops.layer_moments(x, w, y, "relu", keep=True),
        "ridge_solve": lambda: ops.ridge_solve(moments, 2, 1e-300)[:3],
    }


@pytest.mark.parametrize("level", LEVELS)
def test_layers_of_subnormal_numbers(level: str) -> None:
    _C.set_simd_level(level)
    torch.set_flush_denormal(False)
    for name, run in _layers().items():
        found = []
        for flushing in (False, True):
            torch.set_flush_denormal(flushing)
            for threads in (1, 2, 3):
                torch.set_num_threads(threads)
                found.append(torch.cat([a.flatten().view(torch.uint8) for a in run() if a is not None]))
            torch.set_flush_denormal(False)
        assert all(torch.equal(found[0], f) for f in found), name
        assert found[0].any(), name

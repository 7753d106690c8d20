"""Averages of compressed parameters over two and three gloo processes."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from effdl_fast import compress as C
from effdl_fast import ops
from effdl_fast.compress import _plan

from ._gloo import assert_equal_everywhere, run

pytestmark = pytest.mark.skipif(not dist.is_available() or not dist.is_gloo_available(), reason="needs gloo")

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
WAYS = ("gather", "scatter")


def _draw(rank: int, *shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> torch.Tensor:
    """What `rank` holds, as every rank can work it out: like trained weights, a few of them large."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(100 * seed + rank), dtype=torch.float64)
    return (x * x.abs() * (1 + rank)).to(dtype)


def _model(rank: int) -> torch.nn.Module:
    torch.manual_seed(rank)
    return torch.nn.Sequential(torch.nn.Linear(60, 90), torch.nn.Conv2d(3, 40, 5), torch.nn.Linear(90, 10))


def _through(x: torch.Tensor, dtype: torch.dtype, **options: Any) -> torch.Tensor:
    """x after Algorithms 1 and 2."""
    flat = x.detach().contiguous().view(-1)
    return ops.decompress_weights(ops.compress_weights(flat, **options), out=torch.empty_like(flat, dtype=dtype)).view(
        x.shape
    )


def _mean(xs: list[torch.Tensor]) -> torch.Tensor:
    total = xs[0].clone()
    for x in xs[1:]:
        total += x
    return total / len(xs)


# ---- what comes out ----


def _chapter_3(rank: int, ranks: int) -> None:
    """gather is the thesis's algorithm to the last bit: quantize, encode, exchange, decode, average."""
    for options in ({}, {"floor": 5, "seed": 3, "codec": "rans"}, {"bits": 3}):
        model = _model(rank)
        traffic = C.average_parameters(model, exchange="gather", **options)
        for got, *parts in zip(model.parameters(), *(_model(r).parameters() for r in range(ranks)), strict=True):
            small = got.numel() < 1024
            expected = _mean([p.detach() if small else _through(p, torch.float32, **options) for p in parts])
            assert torch.equal(got.detach(), expected)
        assert_equal_everywhere(*model.parameters())
        assert traffic.elements == sum(p.numel() for p in model.parameters())
        assert traffic.original_bytes == 4 * traffic.elements and traffic.ranks == ranks


def _dtypes_and_layouts(rank: int, ranks: int) -> None:
    for way in WAYS:
        for dtype in FLOATS:

            def hold(r: int, dtype: torch.dtype = dtype) -> list[torch.Tensor]:
                image = _draw(r, 8, 6, 10, 12, dtype=dtype, seed=1).to(memory_format=torch.channels_last)
                return [_draw(r, 40, 70, dtype=dtype), image, _draw(r, 90, 30, dtype=dtype, seed=2).t(),
                        _draw(r, 7, dtype=dtype, seed=3), _draw(r, 300, 20, dtype=dtype, seed=4)[::2, 3:],
                        torch.empty(0, 4, dtype=dtype), torch.full((2000,), 0.25, dtype=dtype),
                        torch.tensor(float(r), dtype=dtype)]  # fmt: skip

            mine, held = hold(rank), [hold(r) for r in range(ranks)]
            strides = [x.stride() for x in mine]
            C.average_parameters([*mine, mine[0]], exchange=way)
            assert_equal_everywhere(*mine)
            assert [x.stride() for x in mine] == strides
            for got, *parts in zip(mine, *held, strict=True):
                if not got.numel():
                    continue
                exact = torch.stack(parts).double().mean(0)
                # Half a step each, at 6 bits at least, and the same for the average of a scatter; then the dtype.
                reach = max(float(p.max() - p.min()) for p in parts) / 2**6
                reach += 2 * torch.finfo(dtype).eps * float(exact.abs().max())
                assert float((got.double() - exact).abs().max()) <= reach, (way, dtype, tuple(got.shape))


def _frozen_and_mixed(rank: int, ranks: int) -> None:
    model = _model(rank)
    frozen = model[1].weight.requires_grad_(False)
    before = frozen.clone()
    model[0].double()
    C.average_parameters(model)
    assert torch.equal(frozen, before)
    assert_equal_everywhere(*(p for p in model.parameters() if p.requires_grad))


def _uneven(rank: int, ranks: int) -> None:
    """Payloads from 50 bytes to all of the parameters; a rank that has nothing to own; models smaller than a record."""
    for way in WAYS:
        for sizes in ((50_000, 1500), (1500,), (3,), (3, 5), (1024,) * 7):
            mine = [torch.zeros(n) if rank == 0 else _draw(rank, n) for n in sizes]
            exact = [_mean([torch.zeros(n) if r == 0 else _draw(r, n) for r in range(ranks)]) for n in sizes]
            C.average_parameters(mine, exchange=way)
            assert_equal_everywhere(*mine)
            for got, e in zip(mine, exact, strict=True):
                assert float((got - e).abs().max()) <= float(e.max() - e.min()) / 8


def _many_buckets(rank: int, ranks: int) -> None:
    """Several buckets are under way at once, and tensors are split, with limits small enough for a test."""
    _plan.BUCKET, _plan.LARGEST_PIECE, _plan.SMALLEST_PIECE = 1 << 13, 1 << 14, 1 << 12
    shapes = [(100_001,), (5000,), (70, 30), (9,), (20_000, 2), (64,), (1024,)]
    for way in WAYS:
        mine = [_draw(rank, *s, seed=i) for i, s in enumerate(shapes)]
        C.average_parameters(mine, exchange=way)
        assert_equal_everywhere(*mine)
        for i, (got, shape) in enumerate(zip(mine, shapes, strict=True)):
            exact = _mean([_draw(r, *shape, seed=i) for r in range(ranks)])
            assert float((got - exact).abs().max()) <= float(exact.abs().max()) / 20
    mine = [_draw(rank, 40_000)]  # larger than a piece of a scatter, and yet quantized as a whole
    C.average_parameters(mine, exchange="gather")
    assert torch.equal(mine[0], _mean([_through(_draw(r, 40_000), torch.float32) for r in range(ranks)]))


def _traffic(rank: int, ranks: int) -> None:
    """Bytes on the wire: (n - 1) s for gather, 2 (n - 1) / n s for scatter, s being one rank's compressed."""
    xs = [_draw(rank, 300_000, seed=s) for s in range(4)]
    s = sum(ops.compress_weights(x).numel() for x in xs)
    for way, share in (("gather", ranks - 1), ("scatter", 2 * (ranks - 1) / ranks)):
        traffic = C.average_parameters([x.clone() for x in xs], exchange=way)
        assert traffic.sent_bytes == pytest.approx(share * s, rel=0.25 if way == "scatter" else 0.01)
        totals = torch.tensor([traffic.sent_bytes, -traffic.received_bytes])
        dist.all_reduce(totals)
        assert int(totals.sum()) == 0
        assert traffic.ratio == pytest.approx(2 * (ranks - 1) / ranks * 4 * 1.2e6 / traffic.sent_bytes)
    auto = C.average_parameters([x.clone() for x in xs])
    again = C.average_parameters([x.clone() for x in xs], exchange="gather" if ranks == 2 else "scatter")
    assert auto == again


# ---- differences ----


def _deltas(rank: int, ranks: int) -> None:
    for way in WAYS:
        model = _model(0)  # the same on every rank
        deltas = C.Deltas(model)
        plain = [p.detach().clone() for p in model.parameters()]  # averaged exactly
        for step in range(6):
            updates = [1e-3 * _draw(rank, *p.shape, seed=step) for p in model.parameters()]
            with torch.no_grad():
                for p, u in zip(model.parameters(), updates, strict=True):
                    p += u
            traffic = C.average_parameters(model, deltas=deltas, exchange=way)
            assert_equal_everywhere(*model.parameters())
            for p, e, u in zip(model.parameters(), plain, updates, strict=True):
                dist.all_reduce(u)
                e += u / ranks
                # What one exchange loses, the next one brings: the error stays that of the last exchange alone.
                largest = max(float(_draw(r, *p.shape, seed=step).abs().max()) for r in range(ranks))
                assert float((p.detach() - e).abs().max()) <= 1e-3 * largest / 32
        # Updates that are heavy-tailed take fewer bytes than these weights, which are uniform.
        assert traffic.sent_bytes < C.average_parameters(model, exchange=way).sent_bytes
    model = _model(rank)  # not the same
    deltas = C.Deltas(model)
    with pytest.raises(ValueError, match="the ranks disagree"):
        C.average_parameters(model, deltas=deltas)
    with pytest.raises(ValueError, match="deltas were made for tensors of other shapes"):
        C.average_parameters([torch.zeros(3)], deltas=deltas)
    with pytest.raises(TypeError, match="deltas must be a Deltas, got dict"):
        C.average_parameters(model, deltas={})


# ---- errors ----


def _errors(rank: int, ranks: int) -> None:
    """Every rank is told, the process group stays usable, and nobody waits."""
    for way in WAYS:
        for bad in range(ranks):
            tensors = [_draw(rank, 5000), _draw(rank, 30)]
            if rank == bad:
                tensors[0][17] = float("nan")
            expected = r"tensor 0 holds NaN or infinity" if rank == bad else rf"rank {bad} could not compress"
            with pytest.raises(ValueError, match=expected):
                C.average_parameters(tensors, exchange=way)
        for shapes in ([(3 + rank, 2000)], [(3,)] * (1 + rank), [(2000,)] * (1 + rank)):
            with pytest.raises(ValueError, match="the ranks disagree"):
                C.average_parameters([torch.ones(s) for s in shapes], exchange=way)
        with pytest.raises(ValueError, match="the ranks disagree"):
            C.average_parameters([torch.ones(3000)], exchange=way, min_elements=rank)
        tensors = [_draw(rank, 5000)]
        if rank == 0:
            tensors[0][17] = float("inf")
        C.average_parameters(tensors, exchange=way, nonfinite="raw")
        assert bool(tensors[0][17].isinf()) and int(tensors[0].isfinite().sum()) == 4999
        assert_equal_everywhere(*tensors)
    with pytest.raises(ValueError, match="the ranks disagree"):
        C.average_parameters([torch.ones(3000)], exchange="scatter" if rank else "gather")


def _arguments(rank: int, ranks: int) -> None:
    x = torch.ones(2000)
    for model, options, kind, message in (
        (3, {}, TypeError, "model must be a module or tensors, got int"),
        ([3], {}, TypeError, r"tensor 0 must be a torch\.Tensor, got int"),
        ([x, x.long()], {}, TypeError, "tensor 1 must be float32, float64, float16 or bfloat16, got int64"),
        ([x, x.to("meta")], {}, ValueError, "tensor 1 must be on cpu like tensor 0, got meta"),
        ([x], {"exchange": "ring"}, ValueError, "exchange must be 'auto', 'gather' or 'scatter', got 'ring'"),
        ([x], {"floor": "6"}, TypeError, "average_parameters: floor must be a number"),
        ([x], {"bits": 17}, ValueError, "average_parameters: bits must be from 1 to 16, got 17"),
        ([x], {"min_elements": -1}, ValueError, "min_elements must be a whole number from 0, got -1"),
    ):
        with pytest.raises(kind, match=message):
            C.average_parameters(model, **options)
    assert C.average_parameters([]).elements == 0


def _one_rank_is_wrong(rank: int, ranks: int) -> None:
    """Its own error there, ValueError on the others, and the next exchange goes as if nothing had been."""
    x, deltas = torch.ones(2000), C.Deltas([torch.ones(1000)])
    for model, options, kind, message in (
        ([x.long()], {}, TypeError, "tensor 0 must be float32, float64, float16 or bfloat16, got int64"),
        (3, {}, TypeError, "model must be a module or tensors, got int"),
        ([x, x.to("meta")], {}, ValueError, "tensor 1 must be on cpu like tensor 0, got meta"),
        ([x], {"exchange": "ring"}, ValueError, "exchange must be 'auto', 'gather' or 'scatter', got 'ring'"),
        ([x], {"bits": 17}, ValueError, "average_parameters: bits must be from 1 to 16, got 17"),
        ([x], {"min_elements": True}, ValueError, "min_elements must be a whole number from 0, got True"),
        ([x], {"deltas": deltas}, ValueError, "deltas were made for tensors of other shapes"),
        ([], {}, ValueError, "the ranks disagree"),
    ):
        if rank == 1:
            with pytest.raises(kind, match=message):
                C.average_parameters(model, **options)
        else:
            others = "the ranks disagree" if "disagree" in message else "rank 1 could not compress"
            with pytest.raises(ValueError, match=others):
                C.average_parameters([x])
        mine = [_draw(rank, 3000)]
        C.average_parameters(mine)
        assert_equal_everywhere(*mine)


def _a_later_bucket_fails(rank: int, ranks: int) -> None:
    """While other buckets are on the wire; what has been sent by then does not disturb the next exchange."""
    shapes = [(9000,)] * 6
    for way in WAYS:
        for bad in range(6):
            mine = [_draw(rank, *s, seed=i) for i, s in enumerate(shapes)]
            if rank == ranks - 1:
                mine[bad][7] = float("nan")
            message = rf"tensor {bad} holds NaN" if rank == ranks - 1 else f"rank {ranks - 1} could not compress"
            with pytest.raises(ValueError, match=message):
                C.average_parameters(mine, exchange=way)
            mine = [_draw(rank, *s, seed=i) for i, s in enumerate(shapes)]
            C.average_parameters(mine, exchange=way)
            assert_equal_everywhere(*mine)
            for i, got in enumerate(mine):
                exact = _mean([_draw(r, 9000, seed=i) for r in range(ranks)])
                assert float((got - exact).abs().max()) <= float(exact.abs().max()) / 20
        with pytest.raises(ValueError, match="the ranks disagree"):  # about the number of buckets
            C.average_parameters([torch.ones(9000) for _ in range(6 if rank == 1 else 1)], exchange=way)


def _sixteen_bits(rank: int, ranks: int) -> None:
    """What they would have taken uncompressed is counted in 16 bits, also where differences are kept in 32."""
    for dtype in (torch.bfloat16, torch.float16):
        xs = [torch.ones(5000, dtype=dtype), torch.ones(30, dtype=dtype), torch.ones(20)]
        for deltas in (None, C.Deltas(xs)):
            assert C.average_parameters(xs, deltas=deltas).original_bytes == 2 * 5030 + 4 * 20


def _groups(rank: int, ranks: int) -> None:
    members = [ranks - 2, ranks - 1]
    group, alone = dist.new_group(members), [dist.new_group([r]) for r in range(ranks)]
    x = [_draw(rank, 5000)]
    if rank in members:
        C.average_parameters(x, group)
        expected = _mean([_through(_draw(r, 5000), torch.float32) for r in members])
        assert torch.equal(x[0], expected)
    else:
        with pytest.raises(ValueError, match="this process must be in the group"):
            C.average_parameters(x, group)
    x = [_draw(rank, 5000)]
    traffic = C.average_parameters(x, alone[rank])
    assert torch.equal(x[0], _draw(rank, 5000)) and traffic.sent_bytes == 0 and traffic.ratio == 1


def _everything(rank: int, ranks: int) -> None:
    for part in (_chapter_3, _dtypes_and_layouts, _frozen_and_mixed, _uneven, _traffic, _deltas, _errors, _arguments,
                 _one_rank_is_wrong, _sixteen_bits, _groups, _many_buckets, _a_later_bucket_fails):  # fmt: skip
        try:
            part(rank, ranks)
        except BaseException as error:
            raise AssertionError(f"rank {rank}, {part.__name__}: {error}") from error


@pytest.mark.parametrize("ranks", [2, 3])
def test_average_parameters(ranks: int, tmp_path: Path) -> None:
    run(_everything, ranks, tmp_path)


def test_without_a_process_group() -> None:
    with pytest.raises(ValueError, match="process group"):
        C.average_parameters([torch.ones(3)])

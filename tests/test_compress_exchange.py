"""What exchanges are made of, in one process: plans, payloads, the pipeline."""

import pytest
import torch

from effdl_fast import CorruptDataError
from effdl_fast.compress import _plan
from effdl_fast.compress._channel import Traffic, pack, unpack
from effdl_fast.compress._plan import Feedback, Flat, Plan
from effdl_fast.compress.exchange import Pipeline, fingerprint_of


def flats(*sizes):
    return [Flat(torch.arange(n, dtype=torch.float32), f"x{i}", i) for i, n in enumerate(sizes)]


# ---- payloads ----


@pytest.mark.parametrize("sizes", [(), (0,), (1,), (16,), (48, 17, 0, 5)])
def test_payloads_come_apart_as_they_were(sizes):
    records = [torch.full((n,), i, dtype=torch.uint8) for i, n in enumerate(sizes)]
    payload = pack(records)
    assert payload.numel() % 16 == 0
    back = unpack(payload, len(sizes))
    assert all(torch.equal(a, b) for a, b in zip(records, back, strict=True))
    assert all((b.data_ptr() - payload.data_ptr()) % 16 == 0 for b in back)


def test_payloads_that_do_not_fit():
    payload = pack([torch.ones(20, dtype=torch.uint8), torch.ones(3, dtype=torch.uint8)])
    for size in range(payload.numel()):
        with pytest.raises(CorruptDataError):
            unpack(payload[:size], 2)
    for count in (1, 3, 1000):
        with pytest.raises(CorruptDataError):
            unpack(payload, count)
    for size in (-1, 2**62):
        altered = payload.clone()
        altered[:8].view(torch.int64)[0] = size
        with pytest.raises(CorruptDataError):
            unpack(altered, 2)


# ---- plans ----


def test_a_plan_covers_every_element_once():
    for way in ("gather", "scatter"):
        for ranks in (2, 3, 16):
            given = flats(5_000_000, 3, 70_000, 1023, 1024, 900_000, 0)
            plan = Plan(given, None, 1024, 0, ranks, way)
            pieces = [p for bucket in plan.buckets for p in bucket]
            assert sum(p.x.numel() for p in pieces) == sum(f.x.numel() for f in given)
            for piece in pieces:
                piece.x.neg_()
            plan.finish()
            assert all(torch.equal(f.x, -torch.arange(f.x.numel(), dtype=torch.float32)) for f in given)
            assert [p.plain for p in pieces].count(True) == 1 and pieces[-1].plain
            assert max(p.x.numel() for p in pieces) <= (_plan.LARGEST_PIECE if way == "scatter" else 5_000_000)


def test_small_tensors_are_joined_by_dtype():
    given = [Flat(torch.ones(10, dtype=d), "x", i) for i, d in enumerate([torch.float32, torch.float64, torch.float32])]
    pieces = [p for bucket in Plan(given, None, 1024, 0, 2, "gather").buckets for p in bucket]
    assert [(p.x.numel(), p.x.dtype) for p in pieces] == [(20, torch.float32), (10, torch.float64)]


def test_owners_have_even_shares():
    """Of one large tensor, of many, and of many of very different sizes."""
    for sizes in ((20_000_000,), (65_536,) * 100, (5_000_000, 1_000_000, *(200_000,) * 20, *(3000,) * 50)):
        for ranks in (2, 3, 8, 16):
            load = [0] * ranks
            for piece in (p for b in Plan(flats(*sizes), None, 1024, 0, ranks, "scatter").buckets for p in b):
                load[piece.owner] += piece.x.numel()
            assert max(load) <= sum(load) / ranks + max(_plan.SMALLEST_PIECE, sum(load) / ranks / 4), (
                sizes,
                ranks,
                load,
            )


def test_buckets_are_neither_tiny_nor_everything():
    plan = Plan(flats(*[300_000] * 40), None, 1024, 0, 2, "gather")
    sizes = [sum(p.x.numel() for p in bucket) for bucket in plan.buckets]
    assert min(sizes[:-1]) >= _plan.BUCKET and max(sizes) < _plan.BUCKET + 300_000
    assert Plan([], None, 1024, 0, 2, "gather").buckets == []


def test_plans_are_equal_on_all_ranks():
    def shape(rank):
        plan = Plan(flats(3_000_000, 70_000, 5, 200_000), Feedback(), 1024, rank, 3, "scatter")
        return [[(p.x.numel(), p.owner, p.plain) for p in bucket] for bucket in plan.buckets]

    assert shape(0) == shape(1) == shape(2)


def test_feedback_adds_what_was_lost():
    feedback = Feedback()
    (piece,) = Plan(flats(2000), feedback, 1024, 0, 2, "gather").buckets[0]
    assert piece.error is not None and piece.owner_error is None
    piece.error.fill_(0.5)
    (piece,) = Plan(flats(2000), feedback, 1024, 0, 2, "gather").buckets[0]
    assert torch.equal(piece.x, torch.arange(2000) + 0.5)
    pieces = [p for b in Plan(flats(200_000), Feedback(), 1024, 1, 2, "scatter").buckets for p in b]
    assert [p.owner_error is not None for p in pieces] == [p.owner == 1 for p in pieces]
    assert len({p.owner for p in pieces}) == 2


# ---- pipeline ----


def test_a_bucket_is_compressed_while_those_before_are_on_the_wire():
    log = []

    def bucket(name):
        log.append(f"compress {name}")
        yield
        log.append(f"send {name}")
        yield
        log.append(f"decode {name}")

    pipeline = Pipeline()
    for name in "abcd":
        pipeline.push(bucket(name))
    pipeline.drain()
    assert log == [
        *("compress a", "compress b", "send a", "compress c", "send b", "decode a", "compress d", "send c", "decode b"),
        *("send d", "decode c", "decode d"),
    ]


def test_a_failure_ends_all_after_their_waits():
    log = []

    def bucket(name, fail):
        try:
            yield
            if fail:
                raise ValueError("mine")
            yield
        finally:
            log.append(name)

    pipeline = Pipeline()
    pipeline.push(bucket("a", False))
    pipeline.push(bucket("b", True))
    with pytest.raises(ValueError, match="mine"):
        pipeline.drain()
    assert log == ["b", "a"]
    pipeline.drain()
    pipeline.push(bucket("c", False))
    pipeline.stop()
    assert log == ["b", "a", "c"]


# ---- figures ----


def test_traffic_is_compared_with_a_ring():
    traffic = Traffic(ranks=4, elements=1000, original_bytes=4000, sent_bytes=600)
    assert traffic.allreduce_bytes == 6000 and traffic.ratio == 10
    assert Traffic().ratio == 1


def test_fingerprints():
    assert fingerprint_of([(2, 3)], 4) == fingerprint_of([(2, 3)], 4) != fingerprint_of([(3, 2)], 4)

"""huffman_lengths on every backend: optimal by brute force, and the format's choice among equally good codes."""

import functools
import heapq
import itertools

import pytest
import torch

from effdl_fast.ops._weights_lanes import complete
from effdl_fast.testing.backends import forced
from effdl_fast.testing.cases.huffman_lengths import fibonacci

from ._weights import *  # noqa: F403

OP = "huffman_lengths"


def cost(counts, lengths):
    return sum(c * n for c, n in zip(counts, lengths, strict=True))


@functools.cache
def complete_lengths(symbols, limit):
    """Every multiset of lengths up to `limit` with a Kraft sum of at most 1, longest first."""
    found = itertools.combinations_with_replacement(range(limit, 0, -1), symbols)
    return [lengths for lengths in found if sum(2.0**-n for n in lengths) <= 1]


def brute_force(counts, limit):
    """The least cost: the longest codes belong to the smallest counts."""
    counts = sorted(counts)
    return min(cost(counts, lengths) for lengths in complete_lengths(len(counts), limit))


@pytest.mark.parametrize("symbols", range(2, 8))
def test_optimal_under_every_limit(op, backend, symbols):
    generator = torch.Generator().manual_seed(symbols)
    for trial in range(30):
        counts = torch.randint(1, 60, (symbols,), generator=generator) ** (1 + trial % 3)
        for limit in range((symbols - 1).bit_length(), 8):
            with forced(backend, op.name):
                lengths = op.run(counts.to(backend.device), limit)
            assert complete(lengths) and int(lengths.max()) <= limit
            assert cost(counts.tolist(), lengths.tolist()) == brute_force(counts.tolist(), limit)


def test_unlimited_codes_are_huffman_codes(op, backend):
    """The sum of all packages of Huffman's algorithm is the cost of its code."""
    generator = torch.Generator().manual_seed(0)
    for bins in (2, 3, 10, 257, 1000, 5000):
        counts = torch.randint(100, 1000, (bins,), generator=generator)
        heap = counts.tolist()
        heapq.heapify(heap)
        total = 0
        while len(heap) > 1:
            package = heapq.heappop(heap) + heapq.heappop(heap)
            total += package
            heapq.heappush(heap, package)
        lengths = op.run(counts.to(backend.device), 16)
        assert cost(counts.tolist(), lengths.tolist()) == total


def test_limit_costs_little_and_never_gains(op, backend):
    """Fibonacci counts want codes as long as the alphabet; each further bit allowed helps."""
    counts = fibonacci(20)
    costs = []
    for limit in range(5, 17):
        lengths = op.run(counts.to(backend.device), limit)
        assert int(lengths.max()) <= limit and complete(lengths)
        costs.append(cost(counts.tolist(), lengths.tolist()))
    assert costs == sorted(costs, reverse=True) and len(set(costs)) == len(costs)


def test_choice_among_equals(op, backend):
    """Equal counts: the lower index has the longer code; a leaf is taken before a package of equal count."""
    for counts, wanted in (
        ([1, 1, 1], [2, 2, 1]),
        ([5, 5, 5, 5, 5], [3, 3, 2, 2, 2]),
        ([1, 1, 2, 2], [2, 2, 2, 2]),  # packages first would give 3, 3, 2, 1
        ([2, 1, 1, 2], [2, 2, 2, 2]),
        ([3, 1, 1, 1], [1, 3, 3, 2]),
        ([0, 4, 0, 4, 0], [0, 1, 0, 1, 0]),
    ):
        assert op.run(torch.tensor(counts, device=backend.device)).tolist() == wanted
        assert op.ref(torch.tensor(counts)).tolist() == wanted


def test_default_limit(op, backend):
    """min(16, ceil(log2(bins)) + 4): Fibonacci counts, padded with unused symbols, reach it."""
    for bins, limit in ((2, 5), (16, 8), (17, 9), (256, 12), (257, 13), (4096, 16), (65536, 16)):
        counts = torch.zeros(bins, dtype=torch.int64)
        used = min(bins, 40)
        counts[:used] = fibonacci(used)
        lengths = op.run(counts.to(backend.device))
        assert int(lengths.max()) == min(limit, used - 1)
        assert torch.equal(lengths, op.run(counts.to(backend.device), limit))


def test_few_symbols(op, backend):
    for bins in (1, 2, 300):
        counts = torch.zeros(bins, dtype=torch.int64, device=backend.device)
        with forced(backend, op.name):
            assert not op.run(counts).any()
        counts[-1] = 5
        assert op.run(counts, 1).tolist() == [0] * (bins - 1) + [1]
    assert op.run(torch.tensor([9, 1], device=backend.device), 1).tolist() == [1, 1]


def test_scale_does_not_matter(op, backend):
    counts = torch.randint(1, 1000, (300,), generator=torch.Generator().manual_seed(1))
    wanted = op.ref(counts)
    for shift in (8, 16, 24, 32, 39):
        assert torch.equal(op.run((counts << shift).to(backend.device)).cpu(), wanted)


def test_strided_counts(op, backend):
    counts = torch.tensor([8, -1, 4, -1, 2, -1, 1, -1], device=backend.device)[::2]
    with forced(backend, op.name):
        assert op.run(counts).tolist() == [1, 2, 3, 3]


# ---- errors ----


@pytest.mark.parametrize(
    ("counts", "limit", "message"),
    [
        ([1, -1, 3], None, "counts must not be negative"),
        ([2**57, 1], None, r"counts must .*sum .*at most 2\^57"),
        ([2**62, 2**62, 2**62], None, r"counts must .*sum .*at most 2\^57"),
        ([1, 1, 1], 1, "max_length"),
        ([1] * 257, 8, "max_length"),
    ],
)
def test_values(op, backend, counts, limit, message):
    counts = torch.tensor(counts, device=backend.device)
    if backend.device.type == "cuda":
        assert bool((op.run(counts, limit) == 255).all())
        return
    for function in (op.run, op.ref):
        with pytest.raises(ValueError, match=f"huffman_lengths: .*{message}"):
            function(counts, limit)


def test_errors(op):
    counts = torch.ones(4, dtype=torch.int64)
    for function in (op.run, op.ref):
        for value in (4.0, "4", True):
            with pytest.raises(TypeError, match="huffman_lengths: max_length must be an integer"):
                function(counts, value)
        for value in (0, 17, -1):
            with pytest.raises(ValueError, match=f"huffman_lengths: max_length must be from 1 to 16, got {value}"):
                function(counts, value)
        with pytest.raises(TypeError, match="huffman_lengths: counts must be int64, got int32"):
            function(counts.int())
        with pytest.raises(ValueError, match=r"huffman_lengths: counts must have one dimension, got shape \(2, 2\)"):
            function(counts.view(2, 2))
        for bins in (0, 65537):
            with pytest.raises(ValueError, match=f"counts must have 1 to 65536 elements, got {bins}"):
                function(torch.ones(bins, dtype=torch.int64))
    with pytest.raises(TypeError, match=r"huffman_lengths: counts must be a torch\.Tensor, got list"):
        op.run([1, 2])

"""Code lengths of an optimal prefix code (thesis Algorithm 1, HuffmanCodebook)."""

from collections import deque

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import integer, register
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._weights import MAX_LENGTH, alphabet, workspace


def huffman_lengths(counts: Tensor, max_length: int | None = None) -> Tensor:
    """Lengths of an optimal prefix code with no code longer than max_length (thesis Algorithm 1, HuffmanCodebook).

    Huffman's algorithm, and package-merge (Larmore and Hirschberg 1990) where that is over the limit. Equal counts are
    resolved as docs/format.md says, so the lengths are the same on every device.

    Args:
        counts: int64 (bins,), >= 0, how often each symbol occurs; 1 to 65536 bins. Their sum is at most 2^57.
        max_length: 1 to 16 bits, enough for the symbols that occur: 2^max_length of them at most. None:
            min(16, ceil(log2(bins)) + 4).

    Returns:
        uint8 (bins,): 0 for symbols that do not occur, 1 for a single one.

    Raises:
        ValueError: a negative count, a sum that is too large, or more symbols than codes. On CUDA values are not looked
            at in advance: then every length is 255.
        TypeError, ValueError: wrong dtypes, shapes or max_length.
    """
    way = route("huffman_lengths", "counts", counts)
    if way == REFERENCE:
        return huffman_lengths_ref(counts, max_length)
    max_length = _check(counts, max_length)
    if way == DISPATCHER:
        return torch.ops.effdl_fast.huffman_lengths(counts, max_length)
    return _run(counts, max_length)


def default_limit(bins: int) -> int:
    return min(MAX_LENGTH, (bins - 1).bit_length() + 4)


def _check(counts: Tensor, max_length: int | None) -> int:
    alphabet("huffman_lengths", "counts", counts, torch.int64)
    if max_length is None:
        return default_limit(counts.shape[0])
    return integer("huffman_lengths", "max_length", max_length, 1, MAX_LENGTH)


def _run(counts: Tensor, max_length: int) -> Tensor:
    lengths = torch.empty(counts.shape, dtype=torch.uint8, device=counts.device)
    bins = counts.shape[0]
    _C.huffman_lengths(counts.contiguous(), lengths, workspace("huffman_lengths", counts, bins), max_length)
    return lengths


def _fake(counts: Tensor, max_length: int) -> Tensor:
    return torch.empty(counts.shape, dtype=torch.uint8, device=counts.device)


register("huffman_lengths", "(Tensor counts, int max_length) -> Tensor", _run, _fake)


def huffman_lengths_ref(counts: Tensor, max_length: int | None = None) -> Tensor:
    """`huffman_lengths` in plain Python and PyTorch. Errors that depend on values are raised on every device."""
    limit = _check(counts, max_length)
    lengths = torch.zeros(counts.shape, dtype=torch.uint8, device=counts.device)
    if bool((counts < 0).any()):
        raise ValueError("huffman_lengths: counts must not be negative")
    if sum(counts.tolist()) > 1 << 57:
        raise ValueError("huffman_lengths: counts must have a sum of at most 2^57")
    symbols = torch.nonzero(counts).reshape(-1)
    if symbols.numel() > 1 << limit:
        raise ValueError(f"huffman_lengths: counts has {symbols.numel()} symbols, too many for max_length = {limit}")
    symbols = symbols[torch.argsort(counts[symbols], stable=True)]  # by count, then by index
    if symbols.numel() == 1:
        lengths[symbols] = 1
    elif symbols.numel() > 1:
        leaves = counts[symbols]
        found = _two_queues(leaves)
        if int(found.max()) > limit:
            found = _package_merge(leaves, limit)
        lengths[symbols] = found.sort(descending=True).values.to(torch.uint8)
    return lengths


def _two_queues(leaves: Tensor) -> Tensor:
    """Huffman's algorithm on two or more counts in rising order: the length of each."""
    waiting = deque(enumerate(leaves.tolist()))
    packages: deque[tuple[int, int]] = deque()  # (node, count), in rising order by themselves
    parents = [0] * (2 * leaves.shape[0] - 1)
    for node in range(leaves.shape[0], len(parents)):
        total = 0
        for _ in range(2):
            a_leaf = bool(waiting) and (not packages or waiting[0][1] <= packages[0][1])
            child, count = (waiting if a_leaf else packages).popleft()
            parents[child] = node
            total += count
        packages.append((node, total))
    depths = [0] * len(parents)
    for node in reversed(range(len(parents) - 1)):
        depths[node] = depths[parents[node]] + 1
    return torch.tensor(depths[: leaves.shape[0]], device=leaves.device)


def _package_merge(leaves: Tensor, limit: int) -> Tensor:
    """Lengths up to `limit` of two or more counts in rising order."""
    n = leaves.shape[0]
    level = leaves
    kinds: list[Tensor] = []  # of each level: which of its items are leaves
    for _ in range(limit):
        if kinds:
            packages = level[: level.shape[0] // 2 * 2].view(-1, 2).sum(1)
            level, order = torch.sort(torch.cat([leaves, packages]), stable=True)  # a leaf before an equal package
            kinds.append(order < n)
        else:
            kinds.append(torch.ones(n, dtype=torch.bool, device=leaves.device))
    lengths = torch.zeros(n, dtype=torch.int64, device=leaves.device)
    taken = 2 * n - 2
    for is_leaf in reversed(kinds):
        found = int(is_leaf[:taken].sum())
        lengths[:found] += 1
        taken = 2 * (taken - found)
    return lengths

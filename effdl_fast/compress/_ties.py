"""Which tensors of a state dict share memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from effdl_fast.compress._format import apart, span


class Tie(NamedTuple):
    """The tensor is a view of tensor number `base` when that one is stored contiguously."""

    base: int
    offset: int  # elements
    strides: tuple[int, ...]  # elements


def find_ties(tensors: Sequence[Tensor]) -> dict[int, Tie]:
    """By position, the tensors whose elements all lie in another one that is contiguous, or is the same view.

    Of equal tensors the first is the base. Tensors that overlap otherwise (neither contains the other, or their dtypes
    differ), and tensors that overlap themselves (expanded), have no tie.
    """
    memory = defaultdict(list)
    for i, t in enumerate(tensors):
        if t.layout is torch.strided and t.numel() and t.device.type != "meta":
            where = t.untyped_storage().data_ptr()
            memory[where, t.dtype, t.device, t.is_conj(), t.is_neg()].append(i)
    ties: dict[int, Tie] = {}
    for members in memory.values():
        if len(members) > 1:
            _sweep(tensors, members, ties)
    return ties


def _sweep(tensors: Sequence[Tensor], members: list[int], ties: dict[int, Tie]) -> None:
    """By their beginnings; what lies in any contiguous tensor before it lies in the one of them that ends last."""

    def order(i: int) -> tuple[int, int, bool, int]:
        t = tensors[i]
        return int(t.storage_offset()), -span(t.shape, t.stride()), not t.is_contiguous(), i

    base, base_begin, base_end = -1, 0, 0
    views: dict[tuple, int] = {}
    for i in sorted(members, key=order):
        t = tensors[i]
        begin, shape, strides = int(t.storage_offset()), tuple(t.shape), t.stride()
        end = begin + span(shape, strides)
        if not apart(shape, strides):
            continue
        if end <= base_end:
            ties[i] = Tie(base, begin - base_begin, strides)
        elif t.is_contiguous():
            base, base_begin, base_end = i, begin, end
        elif (same := views.setdefault((begin, shape, strides), i)) != i:
            ties[i] = Tie(same, 0, torch.empty(shape, device="meta").stride())

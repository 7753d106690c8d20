"""How tensors are cut into pieces and buckets for an exchange. It follows from shapes alone: the same on every rank."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

AUTO, GATHER, SCATTER = "auto", "gather", "scatter"
# Long enough that headers and codebooks are a small part, short enough that several buckets overlap.
BUCKET = 1 << 20  # elements
LARGEST_PIECE, SMALLEST_PIECE = 1 << 22, 1 << 16  # elements, of a scatter
PIECES_OF_A_SHARE = 4  # that a rank owns; the shares differ by one piece
MIN_ELEMENTS = 1024  # the header and a codebook of 10 bits take as much as a few hundred float32 elements


class Flat(NamedTuple):
    """A contiguous 1-D tensor to be averaged in place.

    key: what its quantization errors are kept under. dtype: that of the tensor whose wider copy x is; x's own if None.
    """

    x: Tensor
    name: str
    key: Hashable
    dtype: torch.dtype | None = None

    @property
    def itemsize(self) -> int:
        """Bytes of an element, without compression."""
        return (self.dtype or self.x.dtype).itemsize


@dataclass
class Piece:
    """A part of a tensor, or several small ones; x is to be replaced by its average.

    name: for messages. original_bytes: of the tensors as they are. key: see `Feedback`. plain: not quantized. error,
    owner_error: where given, what quantizing takes from x, and from the average if this rank owns the piece, is written
    there; the second is also added to the average before. owner: the rank that averages it in a scatter.
    """

    x: Tensor
    name: str
    original_bytes: int
    key: Hashable = None
    plain: bool = False
    error: Tensor | None = None
    owner_error: Tensor | None = None
    owner: int = 0


class Feedback:
    """What quantizing has taken from tensors, to be added to what is exchanged next (error feedback)."""

    def __init__(self) -> None:
        self._errors: dict[Hashable, Tensor] = {}

    def of(self, key: Hashable, x: Tensor) -> Tensor:
        error = self._errors.get(key)
        if error is None or error.shape != x.shape:
            error = self._errors[key] = torch.zeros_like(x)
        return error


class Plan:
    """The buckets of an exchange: lists of pieces, neighbours together.

    Tensors of fewer than `min_elements` are joined, one piece per dtype, and not quantized; `finish` puts their
    averages back. For a scatter, tensors that are too large for one rank to own without having more than its share are
    split; otherwise each is quantized as a whole. With `feedback`, errors of the last exchange are added to the tensors
    now.
    """

    def __init__(
        self, flats: Sequence[Flat], feedback: Feedback | None, min_elements: int, rank: int, ranks: int, way: str
    ) -> None:
        self._small: dict[torch.dtype, list[Tensor]] = {}
        small_bytes: Counter[torch.dtype] = Counter()
        self._joined: dict[torch.dtype, Tensor] = {}
        largest = max((f.x.numel() for f in flats), default=1) or 1
        if way == SCATTER:
            part = sum(f.x.numel() for f in flats) // (PIECES_OF_A_SHARE * ranks)
            largest = min(max(part // SMALLEST_PIECE, 1) * SMALLEST_PIECE, LARGEST_PIECE)
        pieces = []
        for flat in flats:
            if flat.x.numel() < min_elements:
                self._small.setdefault(flat.x.dtype, []).append(flat.x)
                small_bytes[flat.x.dtype] += flat.x.numel() * flat.itemsize
            else:
                pieces += _parts(flat, largest, feedback)
        for dtype, xs in self._small.items():
            self._joined[dtype] = torch.cat(xs)
            name = f"a tensor of fewer than {min_elements} elements"
            pieces.append(Piece(self._joined[dtype], name, small_bytes[dtype], plain=True))
        _choose_owners(pieces, ranks)
        if feedback is not None and way == SCATTER:
            for piece in pieces:
                if piece.owner == rank and not piece.plain:
                    piece.owner_error = feedback.of(piece.key, piece.x)
        self.buckets = _buckets(pieces, BUCKET if way == GATHER else max(BUCKET, ranks * SMALLEST_PIECE))

    def finish(self) -> None:
        for dtype, xs in self._small.items():
            for x, average in zip(xs, self._joined[dtype].split([x.numel() for x in xs]), strict=True):
                x.copy_(average)


def _parts(flat: Flat, largest: int, feedback: Feedback | None) -> list[Piece]:
    parts = enumerate(flat.x.split(largest))
    pieces = [Piece(x, flat.name, x.numel() * flat.itemsize, key=(flat.key, i)) for i, x in parts]
    if feedback is not None:
        errors = feedback.of(flat.key, flat.x)
        flat.x.add_(errors)
        for piece, error in zip(pieces, errors.split(largest), strict=True):
            piece.error = error
    return pieces


def _choose_owners(pieces: Sequence[Piece], ranks: int) -> None:
    """So that all ranks have about as many bytes to send."""
    load = [0] * ranks
    for piece in pieces:
        piece.owner = min(range(ranks), key=load.__getitem__)
        load[piece.owner] += piece.x.numel() * (4 if piece.plain else 1)


def _buckets(pieces: Sequence[Piece], wanted: int) -> list[list[Piece]]:
    found: list[list[Piece]] = []
    elements = wanted
    for piece in pieces:
        if elements >= wanted:
            found.append([])
            elements = 0
        found[-1].append(piece)
        elements += piece.x.numel()
    return found


def ranks_of(caller: str, group: Any) -> int:
    """The number of ranks of a group that this process is in."""
    ranks = dist.get_world_size(group)
    if ranks < 1:
        raise ValueError(f"{caller}: this process must be in the group")
    return ranks


def way_of(caller: str, exchange: str, ranks: int) -> str:
    """The way that `exchange` asks for."""
    if exchange not in (AUTO, GATHER, SCATTER):
        raise ValueError(f"{caller}: exchange must be 'auto', 'gather' or 'scatter', got {exchange!r}")
    return (GATHER if ranks <= 2 else SCATTER) if exchange == AUTO else exchange


def check_min_elements(caller: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{caller}: min_elements must be a whole number from 0, got {value!r}")
    return value

"""Averages of tensors over the ranks of a process group, exchanged as records of compressed weights.

Two ways, for n ranks whose tensors take s bytes compressed:

- gather: every rank sends its records to every other one and averages what all have sent, as in the thesis (ch. 3).
  Each value is quantized once. A rank sends (n - 1) s bytes.
- scatter: every tensor (piece) has an owner, who gets it from all ranks, averages, and sends the average, compressed
  again, to all. A rank sends 2 (n - 1) / n s bytes, as many as gather for two ranks and less than 2 s for any number.
  A value is quantized twice; the owner's own is not before the average.

A plain all-reduce by rings sends 2 (n - 1) / n times the uncompressed bytes. In both ways all ranks decode the same
bytes in the same order, so their results are equal to the last bit.

Work is cut into buckets. While the records of one are on the wire, the next one is compressed and the one before is
decoded. Which messages are exchanged, and in which order, follows from shapes alone, so it is the same on every rank.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from effdl_fast import ops
from effdl_fast.compress._channel import FAILED, Channel, Traffic, pack, unpack
from effdl_fast.compress._options import Options
from effdl_fast.compress._plan import GATHER, Piece


class Exchange:
    """Replaces the pieces of buckets by their averages over a group."""

    def __init__(self, group: Any, device: torch.device, options: Options, way: str, traffic: Traffic) -> None:
        self.channel = Channel(group, device, traffic)
        self.device, self.options, self.way, self.traffic = device, options, way, traffic
        self._plain = replace(options, codec="raw")
        self._scratch: dict[tuple[torch.dtype, int], Tensor] = {}

    def count_in(self, traffic: Traffic) -> None:
        traffic.ranks = self.channel.ranks
        self.traffic = self.channel.traffic = traffic

    def run(self, pieces: Sequence[Piece], fingerprint: int) -> Iterator[None]:
        """Suspends where there is something to wait for; at its end the pieces hold the averages.

        ValueError on every rank if any of them could not compress its tensors, or if they do not fit together.
        """
        self.traffic.elements += sum(p.x.numel() for p in pieces)
        self.traffic.original_bytes += sum(p.original_bytes for p in pieces)
        return (self._gather if self.way == GATHER else self._scatter)(pieces, fingerprint)

    def _gather(self, pieces: Sequence[Piece], fingerprint: int) -> Iterator[None]:
        me, ranks = self.channel.rank, self.channel.ranks
        own, error = self._records([(p, p.x, None) for p in pieces])
        payloads = yield from self._swap([pack(own)] * ranks, fingerprint, error)
        records = [own if r == me else unpack(payloads[r], len(pieces)) for r in range(ranks)]
        for i, piece in enumerate(pieces):
            self._average(piece, [records[r][i] for r in range(ranks)])

    def _average(self, piece: Piece, records: Sequence[Tensor]) -> None:
        """x becomes the average of the ranks' records, summed in the order of ranks."""
        total, part = self._buffers(piece)
        if piece.error is None and piece.x.dtype is total.dtype:
            total = piece.x  # which is in its record
        for rank, record in enumerate(records):
            values = self._decode(record, part if rank else total)
            if rank == self.channel.rank:
                _keep_error(piece.error, piece.x, values)
            if rank:
                total.add_(part)
        total.div_(len(records))
        if total is not piece.x:
            piece.x.copy_(total)

    def _scatter(self, pieces: Sequence[Piece], fingerprint: int) -> Iterator[None]:
        me, ranks = self.channel.rank, self.channel.ranks
        owned = [[p for p in pieces if p.owner == r] for r in range(ranks)]
        payloads, error = [], None
        for r in range(ranks):
            records, error = (
                self._records([(p, p.x, p.error) for p in owned[r]]) if r != me and not error else ([], error)
            )
            payloads.append(pack(records))
        received = yield from self._swap(payloads, fingerprint, error)
        theirs = [unpack(received[r], len(owned[me])) if r != me else None for r in range(ranks)]
        averages = [self._owned_average(p, [t[i] if t else None for t in theirs]) for i, p in enumerate(owned[me])]
        own, error = self._records([(p, a, p.owner_error) for p, a in zip(owned[me], averages, strict=True)])
        received = yield from self._swap([pack(own)] * ranks, fingerprint, error)
        for r in range(ranks):
            for piece, record in zip(owned[r], own if r == me else unpack(received[r], len(owned[r])), strict=True):
                self._decode(record, piece.x)

    def _owned_average(self, piece: Piece, records: Sequence[Tensor | None]) -> Tensor:
        """The average of the others' records and this rank's own x, which need not be quantized."""
        _, part = self._buffers(piece)
        total = torch.zeros_like(part)
        for record in records:
            total += piece.x if record is None else self._decode(record, part)
        total.div_(len(records))
        if piece.error is not None:
            piece.error.zero_()
        if piece.owner_error is not None:
            total += piece.owner_error
        return total.to(piece.x.dtype) if piece.plain else total

    def _swap(
        self, payloads: Sequence[Tensor], fingerprint: int, error: Exception | None
    ) -> Generator[None, None, list]:
        """Send a payload to each rank; what each has sent. The second wait is over when all is sent and received."""
        sizes = [FAILED if error else p.numel() for p in payloads]
        announcement = self.channel.announce(sizes, fingerprint)
        yield
        incoming = announcement.sizes(error)
        transfer = self.channel.start(payloads, incoming)
        try:
            yield
        finally:
            received = transfer.wait()
        return [p.to(self.device) for p in received]

    def _records(self, parts: Sequence[tuple[Piece, Tensor, Tensor | None]]) -> tuple[list[Tensor], Exception | None]:
        """The records of the second of each, its error kept in the third; or the error, for the others to learn."""
        try:
            return [self._record(*part) for part in parts], None
        except Exception as error:
            return [], error

    def _record(self, piece: Piece, x: Tensor, kept: Tensor | None) -> Tensor:
        record = (self._plain if piece.plain else self.options).record(x, piece.name)
        if kept is not None:
            _keep_error(kept, x, self._decode(record, self._buffers(piece)[1]))
        return record

    def _decode(self, record: Tensor, out: Tensor) -> Tensor:
        return ops.decompress_weights(record, out=out)

    def _buffers(self, piece: Piece) -> tuple[Tensor, Tensor]:
        """Two scratch tensors of the piece's size, float64 for float64 and float32 for others; valid until the next."""
        dtype, n = torch.float64 if piece.x.dtype is torch.float64 else torch.float32, piece.x.numel()
        for which in (0, 1):
            old = self._scratch.get((dtype, which))
            if old is None or old.numel() < n:
                self._scratch[dtype, which] = torch.empty(n, dtype=dtype, device=self.device)
        return self._scratch[dtype, 0][:n], self._scratch[dtype, 1][:n]


def _keep_error(kept: Tensor | None, x: Tensor, values: Tensor) -> None:
    """kept = x - values; 0 where x is not finite, as then nothing was quantized."""
    if kept is not None:
        torch.sub(x, values, out=kept).nan_to_num_(0.0, 0.0, 0.0)


# ---- several buckets at once ----


class Pipeline:
    """Runs generators in lockstep, so that each one's waiting is the others' time to compute.

    In each turn every generator goes one step, the youngest first: a bucket is compressed and announced, the one before
    it sent, and the one before that decoded while the other two are on the wire.
    """

    def __init__(self) -> None:
        self._running: list[Iterator[None]] = []  # youngest first

    def push(self, generator: Iterator[None]) -> None:
        self._running.insert(0, generator)
        self._turn()

    def drain(self) -> None:
        while self._running:
            self._turn()

    def stop(self) -> None:
        """Give up, but not before what is on the wire has arrived."""
        running, self._running = self._running, []
        for generator in reversed(running):
            generator.close()  # type: ignore[attr-defined]

    def _turn(self) -> None:
        for generator in list(self._running):
            try:
                next(generator)
            except StopIteration:
                self._running.remove(generator)
            except BaseException:
                self.stop()
                raise


def fingerprint_of(*facts: object) -> int:
    """A number that ranks with equal facts have in common."""
    return zlib.crc32(repr(facts).encode())

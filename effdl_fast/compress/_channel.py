"""Messages whose sizes only the sender knows, between the ranks of a process group; and what is in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from effdl_fast.errors import CorruptDataError

ALIGNMENT = 16  # of the records within a payload, bytes
FAILED = -1  # instead of a size: the rank could not compress its part


@dataclass
class Traffic:
    """What this rank has exchanged. Bytes are of payloads and their sizes, without the transport's own headers.

    original_bytes: of the tensors as they are. sent_bytes, received_bytes: by this rank. ranks: of the group.
    """

    ranks: int = 1
    elements: int = 0
    original_bytes: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0

    @property
    def allreduce_bytes(self) -> float:
        """What a rank sends in a ring all-reduce of the same tensors uncompressed."""
        return 2 * (self.ranks - 1) / self.ranks * self.original_bytes

    @property
    def ratio(self) -> float:
        return self.allreduce_bytes / self.sent_bytes if self.sent_bytes else 1.0


# ---- messages ----


class Channel:
    """Messages of any size between the ranks of a group. All ranks must make the same calls in the same order."""

    def __init__(self, group: Any, device: torch.device, traffic: Traffic) -> None:
        self.group, self.traffic = group, traffic
        self.rank, self.ranks = dist.get_rank(group), dist.get_world_size(group)
        backends = dict(part.split(":") for part in dist.get_backend_config(group).split(","))
        direct = device.type == "cpu" or backends.get(device.type, "gloo") != "gloo"  # gloo sends host memory only
        if device.type == "cpu" and "cpu" not in backends:
            device, direct = torch.device("cuda", torch.cuda.current_device()), True
        self.device = device if direct else torch.device("cpu")
        traffic.ranks = self.ranks

    def agree(self, fingerprint: int, error: Exception | None) -> None:
        """Goes on if all ranks do so with equal fingerprints and without an error; otherwise raises on every rank."""
        self.announce([FAILED if error else 0] * self.ranks, fingerprint).sizes(error)

    def announce(self, sizes: Sequence[int], fingerprint: int) -> Announcement:
        """Tell each rank how much it will get; FAILED where there will be nothing."""
        mine = torch.tensor([[fingerprint, size] for size in sizes], dtype=torch.int64).to(self.device)
        theirs = torch.empty_like(mine)
        work = dist.all_to_all_single(theirs, mine, group=self.group, async_op=True)
        self.traffic.sent_bytes += 16 * (self.ranks - 1)
        self.traffic.received_bytes += 16 * (self.ranks - 1)
        return Announcement(fingerprint, work, theirs, mine)

    def start(self, payloads: Sequence[Tensor], sizes: Sequence[int]) -> Transfer:
        """Send a payload to each rank, but nothing to this one, and receive `sizes` bytes from each."""
        outgoing, operations = list(payloads), []
        incoming = [
            torch.empty(size if rank != self.rank else 0, dtype=torch.uint8, device=self.device)
            for rank, size in enumerate(sizes)
        ]
        # Receiving first: gloo tells the sender that it may begin, which must not wait behind this rank's own payload.
        for step in range(1, self.ranks):
            source = (self.rank - step) % self.ranks
            if sizes[source]:
                operations.append(dist.P2POp(dist.irecv, incoming[source], group=self.group, group_peer=source))
                self.traffic.received_bytes += sizes[source]
        for step in range(1, self.ranks):  # everyone begins with another neighbour
            to = (self.rank + step) % self.ranks
            if outgoing[to].numel():
                payload = outgoing[to] = outgoing[to].to(self.device)
                operations.append(dist.P2POp(dist.isend, payload, group=self.group, group_peer=to))
                self.traffic.sent_bytes += payload.numel()
        return Transfer(dist.batch_isend_irecv(operations) if operations else [], incoming, outgoing)


@dataclass
class Announcement:
    fingerprint: int
    work: Any
    theirs: Tensor
    mine: Tensor  # kept until it is sent

    def sizes(self, error: Exception | None) -> list[int]:
        """The bytes that each rank will send, once all have said so.

        If any rank cannot go on, this rank's own `error`, or a ValueError where it has none.
        """
        self.work.wait()
        if error is not None:
            raise error
        prints, sizes = self.theirs.t().tolist()
        failed = [rank for rank, size in enumerate(sizes) if size == FAILED]
        if failed:
            raise ValueError(f"exchange: rank {failed[0]} could not compress its tensors; its own error says why")
        if any(p != self.fingerprint for p in prints):
            raise ValueError("exchange: the ranks disagree about the shapes, the dtypes or the way of the exchange")
        return sizes


@dataclass
class Transfer:
    works: list[Any]
    incoming: list[Tensor]
    outgoing: list[Tensor]  # kept until they are sent

    def wait(self) -> list[Tensor]:
        for work in self.works:
            work.wait()
        self.works = []
        return self.incoming


# ---- payloads: the sizes of the records, int64 each, then the records, each at a multiple of 16 bytes ----


def pack(records: Sequence[Tensor]) -> Tensor:
    if not records:
        return torch.empty(0, dtype=torch.uint8)
    sizes = torch.tensor([r.numel() for r in records], dtype=torch.int64).view(torch.uint8)
    return torch.cat([_padded(sizes.to(records[0].device)), *(_padded(r) for r in records)])


def _padded(data: Tensor) -> Tensor:
    rest = -data.numel() % ALIGNMENT
    return torch.nn.functional.pad(data, (0, rest)) if rest else data


def unpack(payload: Tensor, count: int) -> list[Tensor]:
    """`count` records; CorruptDataError unless these are all there is."""
    if not count:
        return []
    if payload.numel() < 8 * count:
        raise CorruptDataError("exchange: a payload is too short")
    sizes = payload[: 8 * count].view(torch.int64).tolist()
    begin = 8 * count + -8 * count % ALIGNMENT
    records = []
    for size in sizes:
        if not 0 <= size <= payload.numel() - begin:
            raise CorruptDataError("exchange: a payload is too short")
        records.append(payload[begin : begin + size])
        begin += size + -size % ALIGNMENT
    if begin != payload.numel():
        raise CorruptDataError("exchange: a payload is too long")
    return records

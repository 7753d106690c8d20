"""A communication hook for DistributedDataParallel: gradients are exchanged compressed, with error feedback."""

# No `from __future__ import annotations`: DistributedDataParallel compares the annotations of a hook.
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor

from effdl_fast.compress._channel import Traffic
from effdl_fast.compress._options import Options
from effdl_fast.compress._plan import AUTO, MIN_ELEMENTS, Feedback, Flat, Plan, check_min_elements, ranks_of, way_of
from effdl_fast.compress.exchange import Exchange, Pipeline, fingerprint_of

if TYPE_CHECKING or dist.is_available():
    from torch.distributed import GradBucket
else:
    GradBucket = Any

_CALLER = "CompressState"


class CompressState:
    """What `ddp_comm_hook` needs to know and to keep; one for each DistributedDataParallel.

    process_group: that of the DDP module; the default one if None. floor, entropy_bits, sample, seed, codec, bits,
    nonfinite: see `ops.compress_weights`; nonfinite="raw", the default here, lets NaN and infinity through, as gradient
    scalers expect. exchange, min_elements: see `average_parameters`. error_feedback: add what quantizing takes from a
    gradient to the next one of the same parameter, at the cost of a tensor of its size.

    traffic: what this rank has exchanged since the state was made, or since a new `Traffic()` was put there.
    """

    def __init__(
        self,
        process_group: Any = None,
        *,
        floor: float = 6,
        entropy_bits: int = 4,
        sample: float = 0.03,
        seed: int = 0,
        codec: str = "huffman",
        bits: int | None = None,
        nonfinite: str = "raw",
        exchange: str = AUTO,
        min_elements: int = MIN_ELEMENTS,
        error_feedback: bool = True,
    ) -> None:
        self.process_group = process_group
        self.options = Options(floor, entropy_bits, sample, seed, codec, nonfinite, bits, caller=_CALLER)
        self.min_elements = check_min_elements(_CALLER, min_elements)
        self.ranks = ranks_of(_CALLER, process_group)
        self.way = way_of(_CALLER, exchange, self.ranks)
        self.feedback = Feedback() if error_feedback else None
        self.traffic = Traffic(self.ranks)
        self._pipeline = Pipeline()
        self._exchange: Exchange | None = None

    def _runner(self, device: torch.device) -> Exchange:
        if self._exchange is None or self._exchange.device != device:
            self._exchange = Exchange(self.process_group, device, self.options, self.way, self.traffic)
        self._exchange.count_in(self.traffic)
        return self._exchange


def ddp_comm_hook(state: CompressState, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """Average a bucket of gradients over the ranks, compressed (thesis chapter 3, applied to gradients).

    >>> state = ef.compress.CompressState()
    >>> model = DistributedDataParallel(model)
    >>> model.register_comm_hook(state, ef.compress.ddp_comm_hook)

    While one bucket's records are on the wire, backward goes on, the next bucket is compressed and the one before is
    decoded; the last bucket of a backward pass waits for all. 16-bit gradients are averaged in float32. All ranks end
    with the same bits. Errors are those of `average_parameters`, and come out of `backward()`.
    """
    buffer = bucket.buffer()
    if bucket.index() == 0:
        state._pipeline.stop()  # of a backward pass that an exception has ended
    future: torch.futures.Future[Tensor] = torch.futures.Future(devices=[buffer.device] if buffer.is_cuda else None)
    if state.ranks == 1:
        future.set_result(buffer)
        return future
    with torch.no_grad():
        runner = state._runner(buffer.device)
        x = buffer if buffer.dtype in (torch.float32, torch.float64) else buffer.float()
        plan = Plan(
            _flats(bucket, buffer, x), state.feedback, state.min_elements, runner.channel.rank, state.ranks, state.way
        )
        fingerprint = fingerprint_of([g.numel() for g in bucket.gradients()], x.dtype, state.min_elements, state.way)

        def finish() -> None:
            plan.finish()
            if x is not buffer:
                buffer.copy_(x)
            future.set_result(buffer)

        *earlier, last = plan.buckets
        for pieces in earlier:
            state._pipeline.push(runner.run(pieces, fingerprint))
        state._pipeline.push(_then(runner.run(last, fingerprint), finish))
        if bucket.is_last():
            state._pipeline.drain()
    return future


def _flats(bucket: GradBucket, buffer: Tensor, x: Tensor) -> list[Flat]:
    """The parts of x, the buffer or a copy of it, that belong to the parameters."""
    flats = []
    for parameter, gradient in zip(bucket.parameters(), bucket.gradients(), strict=True):
        start = int(gradient.storage_offset() - buffer.storage_offset())
        name = f"the gradient of a parameter of shape {tuple(parameter.shape)}"
        flats.append(Flat(x[start : start + gradient.numel()], name, parameter, gradient.dtype))
    return flats


def _then(generator: Iterator[None], finish: Callable[[], None]) -> Iterator[None]:
    yield from generator
    finish()

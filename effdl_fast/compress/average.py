"""Averaging the parameters of data-parallel workers: local SGD, periodic synchronisation (thesis chapter 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.compress._channel import Channel, Traffic
from effdl_fast.compress._memory import bytes_of
from effdl_fast.compress._options import FLOATS, Options
from effdl_fast.compress._plan import AUTO, MIN_ELEMENTS, Feedback, Flat, Plan, check_min_elements, ranks_of, way_of
from effdl_fast.compress.exchange import Exchange, Pipeline, fingerprint_of
from effdl_fast.ops._arguments import dtype_name

_CALLER = "average_parameters"


class Deltas:
    """What all ranks agreed on last, so that `average_parameters(..., deltas=...)` exchanges only what changed since.

    model: the module, or the tensors, that will be averaged. They must be equal on all ranks now (made from one seed,
    or broadcast); the first exchange compares their checksums. Differences are quantized instead of weights, with error
    feedback: what one exchange loses is part of the next one's difference. Their range is that of the updates, so the
    steps are finer and the codes shorter than those of the weights.

    Takes twice the memory of the parameters, in float32 (float64 for float64).
    """

    def __init__(self, model: torch.nn.Module | Iterable[Tensor]) -> None:
        tensors = _tensors(model, "Deltas")
        self._reference = [_wide(x).clone() for _, x in tensors]
        self._feedback = Feedback()
        self._checksum = 0
        for r in self._reference:
            self._checksum = _C.crc32c(bytes_of(r.cpu()), self._checksum)

    def _differences(self, tensors: Sequence[tuple[str, Tensor]]) -> list[Tensor]:
        if [x.numel() for _, x in tensors] != [r.numel() for r in self._reference]:
            raise ValueError(f"{_CALLER}: deltas were made for tensors of other shapes")
        return [_wide(x) - r for (_, x), r in zip(tensors, self._reference, strict=True)]

    def _agree(self, changes: Sequence[Tensor]) -> list[Tensor]:
        for reference, change in zip(self._reference, changes, strict=True):
            reference += change
        self._checksum = 0  # equal from now on, as all ranks add the same
        return self._reference


def average_parameters(
    model: torch.nn.Module | Iterable[Tensor],
    group: Any = None,
    *,
    floor: float = 6,
    entropy_bits: int = 4,
    sample: float = 0.03,
    seed: int = 0,
    codec: str = "huffman",
    bits: int | None = None,
    nonfinite: str = "error",
    exchange: str = AUTO,
    min_elements: int = MIN_ELEMENTS,
    deltas: Deltas | None = None,
) -> Traffic:
    """Replace every parameter by its average over the ranks, exchanged compressed (thesis chapter 3).

    Each rank quantizes and encodes its parameters (Algorithm 1), sends them to the others, decodes what they sent
    (Algorithm 2) and averages. Afterwards all ranks hold the same bits. Every rank of the group must call this with
    tensors of the same shapes and dtypes, and the same exchange and min_elements.

    Args:
        model: a module, whose parameters that require a gradient are averaged in place, or the tensors themselves
            (such as `[*model.parameters(), model.running_mean]`): float32, float64, float16 or bfloat16, any strides,
            all on one device. 16-bit averages are computed in float32.
        group: process group; the default one if None. gloo exchanges host memory, NCCL device memory.
        floor, entropy_bits, sample, seed, codec, bits, nonfinite: see `ops.compress_weights`. nonfinite="raw" exchanges
            tensors with NaN and infinity as they are, so that the average shows them.
        exchange: "gather": everyone sends everyone all it has, as the thesis does. n ranks whose parameters take s
            bytes compressed send (n - 1) s bytes each. "scatter": each rank averages a part of the parameters and sends
            it on, compressed once more: 2 (n - 1) / n s bytes, for any n about 2 s. "auto": gather for two ranks, for
            which both send s bytes, scatter for more.
        min_elements: smaller tensors are exchanged as they are, together.
        deltas: see `Deltas`.

    Returns:
        What this rank sent and received, and how that compares with a ring all-reduce: see `Traffic`.

    Raises:
        ValueError: on every rank, if any rank holds NaN or infinity (that rank says where) or if the ranks' shapes,
            dtypes or ways do not fit together. A part of the parameters may have been averaged then.
        TypeError, ValueError: wrong dtypes, devices or options; the other ranks raise ValueError then.
        CorruptDataError, RuntimeError: what was received cannot be decoded, memory runs out, or a rank has died. The
            others do not learn of this but by the process group's timeout.

    Compressing a bucket of parameters, sending the one before and decoding the one before that overlap. In a gather
    each tensor is quantized as a whole, in a scatter in parts of about a quarter of a rank's share, 65,536 to 4,194,304
    elements. Takes memory for two float32 copies of the largest tensor or part besides the records.
    """
    ranks = ranks_of(_CALLER, group)
    traffic = Traffic(ranks)
    try:
        options = Options(floor, entropy_bits, sample, seed, codec, nonfinite, bits, caller=_CALLER)
        way = way_of(_CALLER, exchange, ranks)
        averaging = _Averaging(_tensors(model, _CALLER), deltas, way, check_min_elements(_CALLER, min_elements))
        runner = Exchange(group, averaging.device, options, way, traffic)
        fingerprint = fingerprint_of(averaging.facts, runner.channel.device.type)
    except Exception as error:
        if ranks > 1:  # the others have to learn of it
            Channel(group, torch.device("cpu"), traffic).agree(0, error)
        raise
    if ranks > 1:
        Channel(group, torch.device("cpu"), traffic).agree(fingerprint, None)
        averaging.run(runner, fingerprint)
    return traffic


class _Averaging:
    """What a call averages: everything that can be wrong about it is wrong here, before anything is exchanged."""

    def __init__(
        self, tensors: Sequence[tuple[str, Tensor]], deltas: Deltas | None, way: str, min_elements: int
    ) -> None:
        if deltas is not None and not isinstance(deltas, Deltas):
            raise TypeError(f"{_CALLER}: deltas must be a Deltas, got {type(deltas).__name__}")
        self.tensors, self.deltas, self.way, self.min_elements = tensors, deltas, way, min_elements
        self.device = tensors[0][1].device if tensors else torch.device("cpu")
        with torch.no_grad():
            self.xs = [_flat(x) for _, x in tensors] if deltas is None else deltas._differences(tensors)
        # What has to be the same on every rank.
        shapes = [(tuple(x.shape), x.dtype) for _, x in tensors]
        self.facts = (shapes, min_elements, way, None if deltas is None else deltas._checksum)

    @torch.no_grad()
    def run(self, runner: Exchange, fingerprint: int) -> None:
        deltas = self.deltas
        flats = [Flat(x, name, i, t.dtype) for i, (x, (name, t)) in enumerate(zip(self.xs, self.tensors, strict=True))]
        channel, feedback = runner.channel, None if deltas is None else deltas._feedback
        plan = Plan(flats, feedback, self.min_elements, channel.rank, channel.ranks, self.way)
        pipeline = Pipeline()
        for bucket in plan.buckets:
            pipeline.push(runner.run(bucket, fingerprint))
        pipeline.drain()
        plan.finish()
        averages = self.xs if deltas is None else deltas._agree(self.xs)
        for (_, x), average in zip(self.tensors, averages, strict=True):
            if average.data_ptr() != x.data_ptr():
                x.copy_(average.view(x.shape))


def _flat(x: Tensor) -> Tensor:
    """Contiguous and 1-D: x's own memory where that is possible."""
    return x.detach().contiguous().view(-1)


def _wide(x: Tensor) -> Tensor:
    """The same in float64 for float64, in float32 for others."""
    return _flat(x).to(torch.float64 if x.dtype is torch.float64 else torch.float32)


def _tensors(model: torch.nn.Module | Iterable[Tensor], caller: str) -> list[tuple[str, Tensor]]:
    """What is averaged, by name; each tensor once."""
    named: list[tuple[str, Tensor]]
    if isinstance(model, torch.nn.Module):
        named = [(f"parameter {name!r}", p) for name, p in model.named_parameters() if p.requires_grad]
    else:
        try:
            named = [(f"tensor {i}", x) for i, x in enumerate(model)]
        except TypeError:
            raise TypeError(f"{caller}: model must be a module or tensors, got {type(model).__name__}") from None
    for name, x in named:
        if not isinstance(x, Tensor):
            raise TypeError(f"{caller}: {name} must be a torch.Tensor, got {type(x).__name__}")
        if x.dtype not in FLOATS:
            raise TypeError(
                f"{caller}: {name} must be float32, float64, float16 or bfloat16, got {dtype_name(x.dtype)}"
            )
        if x.device != named[0][1].device:
            raise ValueError(f"{caller}: {name} must be on {named[0][1].device} like {named[0][0]}, got {x.device}")
    return list({id(x): (name, x) for name, x in named if x.numel()}.values())

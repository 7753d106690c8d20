"""The samples as the layers so far represent them, and the moments of that: kept in memory, or made anew each pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from effdl_fast import ops
from effdl_fast.ops.layer_moments import MAX_WIDTH
from effdl_fast.solvers._activation import Activation
from effdl_fast.solvers._inputs import Arrays
from effdl_fast.solvers._layers import Layers, affine, row_blocks
from effdl_fast.solvers._least_squares import root, triangle

ROWS = 4096  # of a block


Result = TypeVar("Result")


class Source(Protocol):
    features: int | None
    device: torch.device | None

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class Group:
    """Sums over the ranks of a torch.distributed process group; over one process without one."""

    def __init__(self, group: Any = None) -> None:
        self.group = dist.group.WORLD if group is True else group
        self.active = group is not None and group is not False
        if self.active and not (dist.is_available() and dist.is_initialized()):
            raise ValueError("group needs torch.distributed.init_process_group first")

    def sum(self, x: Tensor) -> Tensor:
        if self.active:
            x = x.contiguous()
            dist.all_reduce(x, group=self.group)
        return x

    def gather(self, x: Tensor) -> list[Tensor]:
        """x of every rank, of equal shapes."""
        if not self.active:
            return [x]
        found = [torch.empty_like(x) for _ in range(dist.get_world_size(self.group))]
        dist.all_gather(found, x.contiguous(), group=self.group)
        return found

    def gather_ragged(self, x: Tensor) -> Tensor:
        """x (k_r,) of every rank r, one after another."""
        sizes = [int(s) for s in self.gather(torch.tensor([len(x)], device=x.device))]
        padded = torch.cat([x, x.new_zeros(max(sizes) - len(x))])
        return torch.cat([part[:size] for part, size in zip(self.gather(padded), sizes, strict=True)])

    def together(self, function: Callable[[], Result]) -> Result:
        """What the function returns; where it raises on one rank all of them raise, so that none waits for another."""
        if not self.active:
            return function()
        error: Exception | None = None
        try:
            found = function()
        except Exception as raised:
            error = raised
        messages = self.gather_objects(None if error is None else str(error))
        if error is not None:
            raise error
        for rank, message in enumerate(messages):
            if message is not None:
                raise ValueError(f"rank {rank}: {message}")
        return found

    def gather_objects(self, x: Any) -> list[Any]:
        """A small picklable x of every rank."""
        if not self.active:
            return [x]
        found: list[Any] = [None] * dist.get_world_size(self.group)
        dist.all_gather_object(found, x, group=self.group)
        return found

    def rank(self) -> int:
        return dist.get_rank(self.group) if self.active else 0


class Representation:
    """What is common to both."""

    def __init__(self, layers: Layers, group: Group, dtype: torch.dtype, targets: int, weigh: float | None) -> None:
        self.layers, self.group, self.dtype, self.targets, self.weigh = layers, group, dtype, targets, weigh
        self.known: Tensor | None = None  # moments of the present representation

    @property
    def rounded(self) -> bool:
        """Whether the products that moments are sums of were rounded to float32."""
        return self.dtype is torch.float32

    # -- of the two kinds --
    def inputs(self) -> tuple[int, torch.device | None]:
        """Columns of z, and where it is."""
        raise NotImplementedError

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The present representation in blocks of rows: (z, y)."""
        raise NotImplementedError

    def weighted_parts(self, head: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(z, y, d): d (rows, 1) the weight of each sample (section 7.9.3); `head`, what was fitted to this
        representation, brings it up to date."""
        raise NotImplementedError

    def own_moments(self, precise: bool) -> Tensor:
        raise NotImplementedError

    def own_candidates(self, weights: Tensor) -> Tensor:
        raise NotImplementedError

    def advance(self, weights: Tensor, moments: Tensor | None = None) -> None:
        """Goes on to the output of a further layer; its moments may be known."""
        raise NotImplementedError

    # -- of both --
    def moments(self, *, precise: bool = False) -> Tensor:
        """[1 z y]'[1 z y] over all ranks, float64."""
        if self.known is None or precise:
            self.known = self.group.sum(self.own_moments(precise))
        return self.known

    def candidates(self, weights: Tensor) -> Tensor:
        """Moments of the next representation by each of (t, n, w) weights: (t, 1 + w + c, 1 + w + c)."""
        return self.group.sum(self.own_candidates(weights))

    def weighted_moments(self, head: Tensor | None) -> Tensor:
        """Moments of [1 z d*y]; G is that of `moments`."""
        total: Tensor | None = None
        for z, y, d in self.weighted_parts(head):
            y = d * y
            cross = torch.cat([y.sum(0, keepdim=True), z.mT @ y, y.mT @ y]).double()  # sums of a block in y's dtype
            total = cross if total is None else total.add_(cross)
        assert total is not None
        total = self.group.sum(total)
        moments = self.moments().clone()
        c = total.shape[1]
        moments[:, -c:] = total
        moments[-c:] = total.mT
        return moments

    def triangle(self) -> tuple[Tensor, float | None]:
        """R with R'R = [1 z y]'[1 z y], without forming that, float64; and up to what share of the largest a singular
        value counts as 0, None for rounding alone."""
        factor: Tensor | None = None
        for z, y in self.parts():
            factor = triangle(factor, torch.cat([z.new_ones(len(z), 1), z, y], 1).double())
        assert factor is not None
        if self.group.active:
            padded = factor.new_zeros(factor.shape[1], factor.shape[1])
            padded[: len(factor)] = factor
            factor = triangle(None, torch.cat(self.group.gather(padded)))
        return factor, None

    def distance(self, head: Tensor) -> float:
        """What `head` leaves of Y: the mean over samples of the squared error, as its dtype computes it."""
        left = torch.zeros(2, dtype=torch.float64, device=head.device)
        for z, y in self.parts():
            left[0] += (y - affine(z, head)).double().square().sum()
            left[1] += len(z)
        both = self.group.sum(left)
        return float(both[0] / both[1])

    def accuracy(self, head: Tensor, best: Any) -> float:
        """The share of samples that `head` puts into their class."""
        right = count = 0
        for z, y in self.parts():
            right += int((best(affine(z, head)) == best(y)).sum())
            count += len(z)
        both = self.group.sum(torch.tensor([right, count], device=head.device))
        return float(both[0] / both[1])

    def update(self, d: Tensor, z: Tensor, y: Tensor, head: Tensor) -> Tensor:
        """d <- lambda d + (1 - lambda) e, e the squared error of each sample (section 7.9.3)."""
        assert self.weigh is not None
        return self.weigh * d + (1.0 - self.weigh) * (y - affine(z, head)).square().sum(1, keepdim=True)


class Stored(Representation):
    """In memory, a matrix of the present layer's output."""

    def __init__(self, x: Tensor, y: Tensor, activation: Activation, group: Group, *, weigh: float | None) -> None:
        super().__init__(Layers(activation), group, x.dtype, y.shape[1], weigh)
        self.z, self.y = x, y
        self.d = y.new_ones(len(y), 1) if weigh is not None else None

    def inputs(self) -> tuple[int, torch.device | None]:
        return self.z.shape[1], self.z.device

    def is_narrow(self, width: int) -> bool:
        """Whether the kernels of narrow layers do for a next layer of this width."""
        kernel = self.layers.activation.kernel
        return kernel is not None and max(width, self.z.shape[1], self.y.shape[1]) <= MAX_WIDTH

    @property
    def rounded(self) -> bool:
        return super().rounded and not self.is_narrow(1)

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        for rows in row_blocks(len(self.z), max(ROWS, 2 * self.z.shape[1])):
            yield self.z[rows], self.y[rows]

    def weighted_parts(self, head: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        assert self.d is not None
        for rows in row_blocks(len(self.z), ROWS):
            z, y = self.z[rows], self.y[rows]
            if head is not None:
                self.d[rows] = self.update(self.d[rows], z, y, head)
            yield z, y, self.d[rows]

    def own_moments(self, precise: bool) -> Tensor:
        if self.is_narrow(1):
            return ops.layer_moments(self.z, None, self.y).moments
        return ops.mlp_moments(self.z, [], self.y, precise=precise)

    def own_candidates(self, weights: Tensor) -> Tensor:
        kernel = self.layers.activation.kernel
        if kernel is not None and self.is_narrow(weights.shape[-1]):
            return ops.layer_moments(self.z, weights, self.y, kernel).moments
        return torch.stack([Layers(self.layers.activation, [w]).moments(self.z, self.y) for w in weights])

    def advance(self, weights: Tensor, moments: Tensor | None = None) -> None:
        self.layers.weights.append(weights)
        self.known = moments
        kernel = self.layers.activation.kernel
        if kernel is not None and self.is_narrow(weights.shape[-1]):
            found = ops.layer_moments(self.z, weights, self.y, kernel, keep=True)
            assert found.output is not None
            self.z = found.output
            if moments is None and not self.group.active:
                self.known = found.moments
        else:
            self.z = self.layers.forward(self.z, len(self.layers) - 1)


class Streamed(Representation):
    """From the input through all layers in every pass; memory for a block only."""

    def __init__(self, source: Source, activation: Activation, group: Group, dtype: torch.dtype, targets: int, *,
                 weigh: float | None) -> None:  # fmt: skip
        super().__init__(Layers(activation), group, dtype, targets, weigh)
        self.source = source
        self.heads: list[Tensor] = []  # what was fitted to each representation after the input, for the weights

    def inputs(self) -> tuple[int, torch.device | None]:
        last = self.layers.weights[-1:]
        return (last[0].shape[1], last[0].device) if last else (int(self.source.features or 0), self.source.device)

    def _blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        width = max([ROWS, *(2 * w.shape[1] for w in self.layers.weights[-1:])])
        for x, y in self.source.batches():
            for rows in row_blocks(len(x), max(width, 2 * x.shape[1] if not len(self.layers) else 0)):
                yield x[rows], y[rows]

    def parts(self) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in self._blocks():
            yield self.layers.forward(x), y

    def weighted_parts(self, head: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        if head is not None:
            self.heads.append(head)
        for z, y in self._blocks():
            d = y.new_ones(len(y), 1)
            for i, fitted in enumerate(self.heads):
                z = self.layers.forward(z, i, i + 1)
                d = self.update(d, z, y, fitted)
            yield z, y, d

    def own_moments(self, precise: bool) -> Tensor:
        total: Tensor | None = None
        for x, y in self.source.batches():
            part = self.layers.moments(x, y, precise=precise)
            total = part if total is None else total.add_(part)
        assert total is not None
        return total

    def own_candidates(self, weights: Tensor) -> Tensor:
        total: Tensor | None = None
        for z, y in self.parts():
            part = Stored(z, y, self.layers.activation, Group(), weigh=None).own_candidates(weights)
            total = part if total is None else total.add_(part)
        assert total is not None
        return total

    def advance(self, weights: Tensor, moments: Tensor | None = None) -> None:
        self.layers.weights.append(weights)
        self.known = moments


class Gathered(Representation):
    """Of batches that are given once each: of them there are only the moments."""

    def __init__(self, layers: Layers, group: Group, dtype: torch.dtype, moments: Tensor, targets: int) -> None:
        super().__init__(layers, group, dtype, targets, None)
        self.own = moments

    @property
    def rounded(self) -> bool:
        return False  # there is nothing to take them anew from

    def inputs(self) -> tuple[int, torch.device | None]:
        return self.own.shape[0] - 1 - self.targets, self.own.device

    def add(self, moments: Tensor) -> None:
        """Of a further batch."""
        self.own, self.known = self.own + moments, None

    def set(self, moments: Tensor) -> None:
        self.own, self.known = moments, None

    def advance(self, weights: Tensor, moments: Tensor | None = None) -> None:
        self.layers.weights.append(weights)
        self.own, self.known = torch.zeros_like(self.own[:1, :1].sum()), None

    def own_moments(self, precise: bool) -> Tensor:
        return self.own.clone()

    def triangle(self) -> tuple[Tensor, float | None]:
        return root(self.moments())


def in_memory(x: Tensor, y: Tensor, activation: Activation, group: Group, *, weigh: float | None,
              widths: list[int], budget: int) -> Representation:  # fmt: skip
    """Keeps representations of up to `budget` bytes; wider ones are made anew for every layer, unless that is deep.

    All ranks do the same: the one with the most samples decides.
    """
    rows = max(group.gather_objects(len(x)))
    if rows * max(widths, default=0) * x.element_size() <= budget or len(widths) > 8:
        return Stored(x, y, activation, group, weigh=weigh)
    return Streamed(Arrays(x, y), activation, group, x.dtype, y.shape[1], weigh=weigh)

"""Which samples to train on: k-filtering (thesis section 5.4), loss filtering (6.8.4), and a sampler over what is kept.

All indices are int64, ascending, and count the samples as they were given.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler

from effdl_fast import ops
from effdl_fast.ops._arguments import dense, integer, number
from effdl_fast.ops._neighbours import LABELS, check_metric, check_points, check_workspace

MOST = (1 << 62) - 1
LOOKED_AT = 1 << 22  # numbers at once in a search for NaN and infinity
Generator = torch.Generator | int | None
Progress = Callable[[int], Any]


def mini_batches(n: int, batch_size: int | None, generator: Generator = None) -> list[Tensor]:
    """Splits the numbers 0 to n - 1 at random into batches of about batch_size.

    There are n / batch_size batches, to the nearest whole number and at least one, and their sizes differ by one at
    most: 60,000 samples in batches of 6,148 make ten batches of 6,000.

    Args:
        n: 0 or more; without samples there are no batches.
        batch_size: 1 or more; None makes one batch of all samples and draws nothing.
        generator: a CPU generator that the permutation is drawn from, or the seed of one; None: torch's default.

    Returns:
        int64 tensors, each ascending, so that gathering goes through memory once.
    """
    n = integer("mini_batches", "n", n, 0, MOST)
    if batch_size is not None:
        batch_size = integer("mini_batches", "batch_size", batch_size, 1, MOST)
    drawn = _generator(generator)
    if n == 0:
        return []
    count = 1 if batch_size is None else max(1, (2 * n + batch_size) // (2 * batch_size))
    if count == 1:
        return [torch.arange(n)]
    order = torch.randperm(n, generator=drawn)
    return [part.sort().values for part in torch.tensor_split(order, count)]


def redundancy_depths(
    x: Any,
    y: Any,
    batch_size: int | None = None,
    *,
    metric: str = "l2",
    generator: Generator = None,
    max_workspace: int | None = None,
    progress: Progress = lambda done: None,
) -> Tensor:
    """`ops.redundancy_depth` of all samples, or of each within a random mini-batch.

    In a mini-batch a sample has fewer enemies and they are further away, but fewer friends too: depths of one batch
    size do not compare with those of another.

    Args, errors: as `k_filter`.

    Returns:
        int32 (n,), on the device of x. Sample i is k-redundant, for any k, exactly where it is at least k.
    """
    x, y = as_samples("redundancy_depths", x, y)
    check_metric("redundancy_depths", metric)
    check_workspace("redundancy_depths", max_workspace)
    depth = torch.empty(len(x), dtype=torch.int32, device=x.device)

    def one(part: Tensor | slice) -> None:
        depth[part] = ops.redundancy_depth(x[part], y[part], metric=metric, max_workspace=max_workspace)

    _each_batch(x, batch_size, generator, progress, one)
    return depth


def k_filter(
    x: Any,
    y: Any,
    k: int,
    batch_size: int | None = None,
    *,
    metric: str = "l2",
    generator: Generator = None,
    max_workspace: int | None = None,
    progress: Progress = lambda done: None,
) -> Tensor:
    """The samples that k-filtering keeps (thesis 5.4): those with another class among their k nearest neighbours.

    A sample is redundant, and left out, if all of its k nearest neighbours belong to its own class. The sample itself
    is none of its neighbours, a duplicate of it is; a tie at the k-th place between classes keeps the sample. Where a
    class has k samples or fewer, all of it is kept. Data of one class are redundant as a whole.

    Args:
        x: samples, a tensor or NumPy array (n, ...) of float32, float64, float16, bfloat16 or uint8. Samples of
            more than one dimension are flattened.
        y: labels (n,), a tensor or NumPy array of integers or bool; on another device than x they are copied to it.
        k: 1 or more. Small k filter most; the thesis takes 5 to 104.
        batch_size: None finds neighbours among all samples. A number finds them in random mini-batches of about this
            size, as the thesis does ("large mini-batches", about 6,000); see `mini_batches`. That takes less time and
            keeps more, because within its batch a sample has fewer neighbours of its own class nearby.
        metric: "l2", "cosine" or "inner_product"; see `ops.redundancy_depth`.
        generator: of the mini-batches: a CPU generator, or the seed of one; None: torch's default.
        max_workspace: bytes of temporary memory of `ops.k_redundant`. A mini-batch is copied on top.
        progress: called with the number of samples done, after each mini-batch.

    Returns:
        int64, ascending, on the device of x: `x[kept]`, `y[kept]` are the data to train on.

    Raises:
        ValueError: NaN or infinity in x (the message names the row), wrong shapes, an unknown metric, k, batch_size or
            max_workspace out of range.
        TypeError: wrong types and dtypes.
    """
    k = integer("k_filter", "k", k, 1, (1 << 31) - 1)
    x, y = as_samples("k_filter", x, y)
    check_metric("k_filter", metric)
    check_workspace("k_filter", max_workspace)
    redundant = torch.empty(len(x), dtype=torch.bool, device=x.device)

    def one(part: Tensor | slice) -> None:
        redundant[part] = ops.k_redundant(x[part], y[part], k, metric=metric, max_workspace=max_workspace)

    _each_batch(x, batch_size, generator, progress, one)
    return redundant.logical_not().nonzero().squeeze(1)


def kept_curve(depth: Any, ks: Iterable[int] | None = None, *, counting_self: bool = False) -> Tensor:
    """The fraction of samples that k-filtering keeps, for every k, from the depths of one call.

    Args:
        depth: (n,) of `redundancy_depths` or `ops.redundancy_depth`, a tensor or NumPy array, n > 0.
        ks: 1 or more each; None: 1, 2, ... up to the first k that keeps everything.
        counting_self: counts a sample as the nearest of its own k neighbours, as a search for neighbours does that is
            not told to leave it out: redundant is then depth >= k - 1. The thesis's figures for small k are nearer to
            this, its text is not; `k_filter` follows the text.

    Returns:
        float64, one for each k, from 0 to 1 and never falling as k grows.
    """
    depth = as_tensor("kept_curve", "depth", depth)
    if depth.is_floating_point() or depth.is_complex() or depth.dtype is torch.bool or depth.dim() != 1:
        raise TypeError(f"kept_curve: depth must be a vector of integers, got {told(depth)}")
    if len(depth) == 0:
        raise ValueError("kept_curve: depth holds no samples")
    if bool((depth < 0).any()):
        raise ValueError("kept_curve: depth must not be negative")
    reach = depth.long().cpu() + bool(counting_self)  # the largest k for which a sample is redundant
    last = int(reach.max()) + 1
    if ks is None:
        wanted = torch.arange(1, last + 1)
    else:
        if not isinstance(ks, Iterable) or (isinstance(ks, Tensor) and ks.dim() == 0):
            raise TypeError(f"kept_curve: ks must be a sequence of integers, got {type(ks).__name__}")
        wanted = torch.tensor([integer("kept_curve", "ks", k, 1, MOST) for k in ks], dtype=torch.int64)
    below = torch.bincount(reach, minlength=last + 1).cumsum(0)  # below[r]: samples of reach r at most
    return below[wanted.clamp(max=last) - 1].double() / len(depth)


def loss_filter(losses: Any, share: float) -> Tensor:
    """The samples that loss filtering keeps (thesis 6.8.4): all but the given share of lowest loss.

    Args:
        losses: (n,) a tensor or NumPy array of floats. Of equal losses the one of lowest index is left out first. NaN
            is never left out, even where fewer samples than the share can be.
        share: 0 to 1; share * n is rounded down.

    Returns:
        int64, ascending, on the device of losses.
    """
    losses = as_losses("loss_filter", losses)
    return all_but(losses, lowest_first(losses)[: share_of(len(losses), fraction("loss_filter", "share", share))])


class RedundancySampler(Sampler[int]):
    """Goes through the kept samples of a data set, for `torch.utils.data.DataLoader(..., sampler=...)`.

    With several processes each goes through its own part of one common permutation, as DistributedSampler does: the
    parts have the same length, so that all processes take the same number of steps. For that either a few samples come
    twice, or (drop_last) a few are left out in each epoch.

    Args:
        kept: indices into the data set, as `k_filter` and `loss_filter` return them; the same in every process.
        shuffle: a new order for each epoch, a function of seed and epoch alone; call `set_epoch` before each.
        seed: 0 or more, the same in every process.
        rank, world_size: of this process; None: those of the default process group, 0 and 1 where there is none.
        drop_last: see above.
    """

    def __init__(
        self,
        kept: Any,
        *,
        shuffle: bool = True,
        seed: int = 0,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: bool = False,
    ) -> None:
        if (rank is None) != (world_size is None):
            raise ValueError("RedundancySampler: rank and world_size go together")
        if rank is None or world_size is None:
            grouped = torch.distributed.is_available() and torch.distributed.is_initialized()
            rank = torch.distributed.get_rank() if grouped else 0
            world_size = torch.distributed.get_world_size() if grouped else 1
        self.world_size = integer("RedundancySampler", "world_size", world_size, 1, MOST)
        self.rank = integer("RedundancySampler", "rank", rank, 0, self.world_size - 1)
        self.seed = integer("RedundancySampler", "seed", seed, 0, MOST)
        self.shuffle, self.drop_last, self.epoch = bool(shuffle), bool(drop_last), 0
        self.refresh(kept)

    def refresh(self, kept: Any) -> None:
        """Other indices from the next epoch on: after filtering again, on the features of a trained layer say."""
        kept = as_tensor("RedundancySampler", "kept", kept)
        if kept.dim() != 1 or kept.is_floating_point() or kept.is_complex() or kept.dtype is torch.bool:
            raise TypeError(f"RedundancySampler: kept must be a vector of integer indices, got {told(kept)}")
        kept = kept.long().cpu().clone()
        if len(kept) and int(kept.min()) < 0:
            raise ValueError("RedundancySampler: kept must not hold negative indices")
        self.kept = kept

    def set_epoch(self, epoch: int) -> None:
        """Which permutation comes next; in every process the same."""
        self.epoch = integer("RedundancySampler", "epoch", epoch, 0, MOST)

    def __len__(self) -> int:
        return len(self.kept) // self.world_size if self.drop_last else -(-len(self.kept) // self.world_size)

    def __iter__(self) -> Iterator[int]:
        order = self.kept
        if self.shuffle:
            order = order[torch.randperm(len(order), generator=_seeded(self.seed, self.epoch))]
        places = self.rank + self.world_size * torch.arange(len(self))
        return iter(order[places % max(1, len(order))].tolist())


def _seeded(seed: int, epoch: int) -> torch.Generator:
    """Of both numbers: seed + epoch alone would let seed 1 in epoch 0 repeat seed 0 in epoch 1."""
    return torch.Generator().manual_seed(random.Random(f"{seed} {epoch}").getrandbits(63))


# ---- what is shared with OnlineFilter ----


def as_samples(who: str, x: Any, y: Any, names: tuple[str, str] = ("x", "y")) -> tuple[Tensor, Tensor]:
    """x as (n, d), finite, and y as (n,) on the same device, both detached: what the ops take, by the caller's names.

    All samples are looked at before the first mini-batch, as an op would name the row of the mini-batch.
    """
    x, y = as_tensor(who, names[0], x), as_tensor(who, names[1], y)
    dense(who, names[0], x)
    if x.dim() < 2:
        raise ValueError(f"{who}: {names[0]} must have two or more dimensions (samples, features, ...), got {told(x)}")
    if y.dim() != 1 or len(y) != len(x):
        raise ValueError(
            f"{who}: {names[1]} must have shape ({len(x)},), one label for each sample of {names[0]}, got {told(y)}"
        )
    x = x.flatten(1)
    check_points(who, names[0], x)
    y = as_labels(who, names[1], y)
    _check_finite(who, names[0], x)
    return x, y.to(x.device)


def as_labels(who: str, name: str, labels: Any) -> Tensor:
    labels = as_tensor(who, name, labels)
    dense(who, name, labels)
    if labels.dtype not in LABELS:
        raise TypeError(f"{who}: {name} must be integers, got {told(labels)}")
    return labels


def as_losses(who: str, losses: Any) -> Tensor:
    losses = as_tensor(who, "losses", losses)
    if losses.dim() != 1 or not losses.is_floating_point():
        raise TypeError(f"{who}: losses must be a vector of floats, got {told(losses)}")
    return losses


def as_tensor(who: str, name: str, value: Any) -> Tensor:
    """A tensor that shares the memory of `value` where it can."""
    if isinstance(value, Tensor):
        return value.detach()
    import numpy as np  # torch works without it

    if not isinstance(value, np.ndarray):
        raise TypeError(f"{who}: {name} must be a torch.Tensor or a NumPy array, got {type(value).__name__}")
    if value.dtype.kind not in "buif":
        raise TypeError(f"{who}: {name} must hold numbers, got dtype {value.dtype}")
    if value.dtype.kind == "u" and value.dtype.itemsize > 1:
        value = value.astype(np.int64)  # different values stay different; torch has few functions for unsigned numbers
    # torch takes neither negative strides nor foreign byte order, and warns of memory that must not be written to
    return torch.from_numpy(np.require(value, value.dtype.newbyteorder("="), ["C", "W"]))


def told(x: Any) -> str:
    if not isinstance(x, Tensor):
        return type(x).__name__
    return f"{str(x.dtype).removeprefix('torch.')} of shape {tuple(x.shape)}"


def fraction(who: str, name: str, value: Any) -> float:
    value = number(who, name, value)
    if not 0 <= value <= 1:
        raise ValueError(f"{who}: {name} must be from 0 to 1, got {value}")
    return value


def share_of(n: int, share: float) -> int:
    """share * n rounded down, but for the error of floats: 0.29 of 100 is 29, although 0.29 * 100 < 29."""
    return math.floor(share * n * (1 + 4 * sys.float_info.epsilon))


def lowest_first(losses: Tensor) -> Tensor:
    """Indices in the order in which loss filtering leaves samples out; those of NaN are not among them."""
    return losses.argsort(stable=True)[: int(losses.isnan().logical_not().sum())]


def all_but(x: Tensor, dropped: Tensor) -> Tensor:
    """Ascending indices of the rows of x without the dropped ones."""
    kept = torch.ones(len(x), dtype=torch.bool, device=x.device)
    kept[dropped] = False
    return kept.nonzero().squeeze(1)


def _check_finite(who: str, name: str, x: Tensor) -> None:
    if not x.is_floating_point() or bool(x.sum().isfinite()):  # a sum with NaN or infinity in it is never finite
        return
    rows = max(1, LOOKED_AT // max(1, x.shape[1]))
    for begin in range(0, len(x), rows):
        finite = x[begin : begin + rows].isfinite().all(dim=1)
        if not bool(finite.all()):
            row = begin + int(finite.logical_not().nonzero()[0])
            raise ValueError(f"{who}: row {row} of {name} holds NaN or infinity")


def _generator(generator: Generator) -> torch.Generator | None:
    if generator is None or isinstance(generator, torch.Generator):
        return generator
    return torch.Generator().manual_seed(integer("mini_batches", "generator, where it is a seed,", generator, 0, MOST))


def _each_batch(
    x: Tensor,
    batch_size: int | None,
    generator: Generator,
    progress: Progress,
    run: Callable[[Tensor | slice], None],
) -> None:
    batches = mini_batches(len(x), batch_size, generator)
    if len(batches) < 2:
        run(slice(None))  # a view, no copy
        progress(len(x))
        return
    for batch in batches:
        run(batch.to(x.device))
        progress(len(batch))

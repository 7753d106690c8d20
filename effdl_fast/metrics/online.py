"""Filtering inside a training loop: samples are selected before the forward pass (thesis sections 6.8.2 and 6.8.4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from effdl_fast import ops
from effdl_fast.metrics.filtering import all_but, as_labels, as_losses, as_samples, fraction, lowest_first, share_of
from effdl_fast.ops._arguments import integer
from effdl_fast.ops._neighbours import check_metric, check_workspace

WHO = "OnlineFilter"
MOST_K = (1 << 31) - 1

Schedule = int | Mapping[str, int] | Callable[[str, int], int | None]


@dataclass
class FilterCount:
    """What was selected of the batches of one layer in one epoch."""

    epoch: int
    layer: str
    batches: int = 0
    seen: int = 0
    dropped: int = 0

    @property
    def share(self) -> float:
        """The part that was dropped, 0 to 1."""
        return self.dropped / self.seen if self.seen else 0.0


class OnlineFilter:
    """Selects, batch by batch, the samples that are worth a forward and backward pass.

    The thesis filters batches of 6,148 with k = 10, drops at most 60% of each, and waits for 30 epochs, as layers have
    to learn something before their features are redundant (6.8.2): `OnlineFilter(k=10, max_share=0.6, start_epoch=30)`.
    On ImageNet it drops the 25% of lowest loss instead, from epoch 31 on (6.8.4): `OnlineFilter(share=0.25,
    start_epoch=31)`, for which `select_by_loss` takes the losses of a forward pass through the layers below.

    What is selected depends on the arguments alone; no random number is drawn, and no gradient passes.

    Args:
        k: for `select`: one k; or one for each layer, as a mapping from names; or a function of layer and epoch that
            returns one, or None where nothing is to be dropped.
        share: for `select_by_loss`: the part of each batch to drop, 0 to 1, rounded down to whole samples.
        max_share: `select` drops this part of a batch at most, 0 to 1, rounded down to whole samples. Where more are
            redundant, the deepest are dropped, those with most of their own class nearer than any other class; of
            equal depth those of lowest index.
        cap: what max_share is a part of: each "class" in the batch, so that the classes stay about as frequent as they
            are; or the whole "batch", where classes that are well apart, whose samples are deepest, go first and may
            lose nearly everything.
        start_epoch: in epochs before this one, counted from 0, everything is kept.
        keep_classes: of each class in a batch at least one sample is kept: the least redundant one, or the one of
            highest loss; of equal ones that of highest index. Else a class that is well apart may vanish whole.
        metric, max_workspace: as of `ops.redundancy_depth`.
    """

    def __init__(
        self,
        k: Schedule | None = None,
        *,
        share: float | None = None,
        max_share: float = 0.6,
        cap: Literal["class", "batch"] = "class",
        start_epoch: int = 0,
        keep_classes: bool = True,
        metric: str = "l2",
        max_workspace: int | None = None,
    ) -> None:
        if k is None and share is None:
            raise ValueError(f"{WHO}: give k to select by redundancy, share to select by loss, or both")
        if isinstance(k, Mapping):
            k = {str(layer): integer(WHO, f"k of {layer}", value, 1, MOST_K) for layer, value in k.items()}
        elif k is not None and not callable(k):
            k = integer(WHO, "k", k, 1, MOST_K)
        self.k = k
        self.share = None if share is None else fraction(WHO, "share", share)
        self.max_share = fraction(WHO, "max_share", max_share)
        if cap not in ("class", "batch"):
            raise ValueError(f"{WHO}: cap must be class or batch, got {cap!r}")
        self.cap = cap
        self.start_epoch = integer(WHO, "start_epoch", start_epoch, 0, 1 << 62)
        self.keep_classes = bool(keep_classes)
        self.metric = check_metric(WHO, metric)
        check_workspace(WHO, max_workspace)
        self.max_workspace = max_workspace
        self.epoch = 0
        self._counts: dict[tuple[int, str], FilterCount] = {}

    @property
    def active(self) -> bool:
        """Whether this epoch is one to filter in."""
        return self.epoch >= self.start_epoch

    def select(self, features: Any, labels: Any, *, layer: str = "input") -> Tensor:
        """The samples of a batch to train on, by redundancy: of a large batch, thousands, for a meaningful result.

        Args:
            features: (n, ...) as x of `k_filter`: the batch itself, or what any layer made of it.
            labels: (n,) as y of `k_filter`.
            layer: a name for the statistics and for k.

        Returns:
            int64, ascending, on the device of features.

        Raises:
            ValueError: no k for this layer; NaN or infinity in features, wrong shapes.
            TypeError: wrong types and dtypes.
        """
        k = self._k_of(layer)
        features, labels = as_samples(f"{WHO}.select", features, labels, ("features", "labels"))
        if not self.active or k is None:
            return self._count(layer, len(labels), torch.arange(len(labels), device=features.device))
        depth = ops.redundancy_depth(features, labels, metric=self.metric, max_workspace=self.max_workspace)
        deepest = depth.argsort(descending=True, stable=True)
        candidates = deepest[: int((depth >= k).sum())]
        if self.cap == "class":
            candidates = candidates[_first_of_classes(candidates, labels, self.max_share)]
        return self._drop(layer, labels, deepest, candidates, share_of(len(labels), self.max_share))

    def select_by_loss(self, losses: Any, labels: Any = None, *, layer: str = "input") -> Tensor:
        """The samples of a batch to train on, by loss: all but `share` of it, those of lowest loss.

        Args:
            losses: (n,) floats, one for each sample, as of `loss_filter`: NaN is never dropped.
            labels: (n,) integers; needed with keep_classes.
            layer: a name for the statistics.

        Returns:
            int64, ascending, on the device of losses.

        Raises:
            ValueError: the filter has no share; wrong shapes, missing labels.
            TypeError: wrong types and dtypes.
        """
        who = f"{WHO}.select_by_loss"
        if self.share is None:
            raise ValueError(f"{who}: the filter was made without share")
        losses = as_losses(who, losses)
        if labels is not None:
            labels = as_labels(who, "labels", labels).to(losses.device)
            if labels.shape != losses.shape:
                raise ValueError(f"{who}: labels must have shape {tuple(losses.shape)}, got {tuple(labels.shape)}")
        elif self.keep_classes:
            raise ValueError(f"{who}: labels are needed to keep a sample of each class; or make it keep_classes=False")
        if not self.active:
            return self._count(layer, len(losses), torch.arange(len(losses), device=losses.device))
        order = losses.argsort(stable=True)
        return self._drop(layer, labels, order, lowest_first(losses), share_of(len(losses), self.share))

    def step(self) -> None:
        """Ends an epoch."""
        self.epoch += 1

    def statistics(self) -> list[FilterCount]:
        """Counts by epoch and layer, in the order in which they were first selected from."""
        return list(self._counts.values())

    def state_dict(self) -> dict[str, Any]:
        """The epoch and the statistics, as plain numbers and strings. The settings are the constructor's."""
        return {"epoch": self.epoch, "statistics": [asdict(count) for count in self._counts.values()]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Puts back what `state_dict` returned. Raises ValueError where the state is of something else."""
        try:
            epoch = integer(WHO, "epoch", state["epoch"], 0, 1 << 62)
            counts = [_checked(FilterCount(**count)) for count in state["statistics"]]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{WHO}: this is no state of a filter ({error})") from error
        self.epoch, self._counts = epoch, {(count.epoch, count.layer): count for count in counts}

    def _k_of(self, layer: str) -> int | None:
        if self.k is None:
            raise ValueError(f"{WHO}.select: the filter was made without k")
        if isinstance(self.k, Mapping):
            if layer not in self.k:
                raise ValueError(f"{WHO}.select: k has no layer {layer!r}; its layers: {', '.join(self.k)}")
            return self.k[layer]
        if callable(self.k):
            k = self.k(layer, self.epoch)
            return None if k is None else integer(WHO, "k", k, 1, MOST_K)
        return self.k

    def _drop(self, layer: str, labels: Tensor | None, order: Tensor, candidates: Tensor, most: int) -> Tensor:
        """All but the first `most` candidates; `order` has all samples, the last one of each class to be kept."""
        if self.keep_classes and labels is not None:
            candidates = candidates[~_last_of_class(order, labels)[candidates]]
        return self._count(layer, len(order), all_but(order, candidates[:most]))

    def _count(self, layer: str, seen: int, kept: Tensor) -> Tensor:
        count = self._counts.setdefault((self.epoch, layer), FilterCount(self.epoch, layer))
        count.batches += 1
        count.seen += seen
        count.dropped += seen - len(kept)
        return kept


def _checked(count: FilterCount) -> FilterCount:
    """As it was read from a state; TypeError or ValueError where it cannot be one."""
    if not isinstance(count.layer, str):
        raise TypeError(f"layer must be a string, got {type(count.layer).__name__}")
    for name in ("epoch", "batches", "seen", "dropped"):
        integer(WHO, name, getattr(count, name), 0, 1 << 62)
    if count.dropped > count.seen:
        raise ValueError(f"{WHO}: dropped must be at most seen, {count.seen}, got {count.dropped}")
    return count


def _last_of_class(order: Tensor, labels: Tensor) -> Tensor:
    """bool (n,): which samples are the last of their class in `order`."""
    classes, index = labels[order].unique(return_inverse=True)
    place = torch.arange(len(order), device=order.device)
    last = torch.zeros(len(classes), dtype=torch.int64, device=order.device).scatter_reduce_(0, index, place, "amax")
    mask = torch.zeros(len(order), dtype=torch.bool, device=order.device)
    mask[order[last]] = True
    return mask


def _first_of_classes(candidates: Tensor, labels: Tensor, share: float) -> Tensor:
    """Which candidates are among the first of their class, as many of each as `share` of its samples, rounded down."""
    _, index, counts = labels.unique(return_inverse=True, return_counts=True)
    quota = torch.tensor([share_of(n, share) for n in counts.tolist()], dtype=torch.int64, device=labels.device)
    by_class = index[candidates].argsort(stable=True)
    ordered = index[candidates][by_class]
    begins = torch.searchsorted(ordered, torch.arange(len(counts), device=labels.device))
    place = torch.empty_like(by_class)
    place[by_class] = torch.arange(len(ordered), device=labels.device) - begins[ordered]
    return place < quota[index[candidates]]

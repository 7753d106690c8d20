"""The one training loop of the demo and of every experiment: SGD or Adam on data in memory, deterministic by seed.

Scaling, stated once: a loss is the sum over classes and the *mean over the mini-batch*, so a learning rate here
multiplies batch-mean gradients. No global random state is touched: shuffles and augmentation draw from their own
generator.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from effdl_fast.data import Dataset

Loss = Callable[[Tensor, Tensor], Tensor]
CROP_PADDING = 4  # the usual CIFAR augmentation: pad by 4, crop back at random, flip half of the images
EVAL_BATCH = 2000


@dataclass(frozen=True)
class Recipe:
    """How to train. After each epoch in `milestones` lr is multiplied by 0.1.

    optimizer: "sgd", or "adam" (betas 0.9 and 0.999), which has no momentum of its own to set.
    """

    epochs: int
    lr: float
    batch_size: int = 100
    momentum: float = 0.0
    nesterov: bool = False
    weight_decay: float = 0.0
    milestones: tuple[int, ...] = ()
    augment: bool = False
    optimizer: str = "sgd"


@dataclass
class History:
    """One training run. test_error: percent after each epoch; train_loss: mean loss of each epoch; seconds: whole run.

    `diverged` is the 1-based epoch in which the loss stopped being finite (training ends there), or None.
    """

    test_error: list[float]
    train_loss: list[float]
    seconds: float
    diverged: int | None = None

    @property
    def best_error(self) -> float:
        """Smallest test error, percent (100 where no epoch was completed)."""
        return min(self.test_error, default=100.0)

    @property
    def best_epoch(self) -> int:
        """1-based epoch of the smallest test error, the thesis's point of convergence; 0 where none was completed."""
        return self.test_error.index(self.best_error) + 1 if self.test_error else 0

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "best_error": self.best_error, "best_epoch": self.best_epoch}


class Observer:
    """Looks into a run without changing it."""

    def after_epoch(self, epoch: int) -> None:
        """After `epoch` (1-based) and its test; before that, with 0, on the network as initialised."""

    def after_backward(self, epoch: int, step: int, logits: Tensor) -> None:
        """After the backward pass of `step` (0-based) in `epoch` (1-based); logits.grad is that of the mean loss."""


@contextlib.contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Run the block with `count` torch threads and restore the number after it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def build(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """`make()` with torch's initialisers seeded by `seed`; the caller's random state stays as it was."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def train(
    model: nn.Module,
    loss: Loss,
    data: Dataset,
    recipe: Recipe,
    *,
    seed: int,
    observer: Observer | None = None,
    tick: Callable[[str], None] = lambda text: None,
) -> History:
    """Train `model` in place on `data` (both on one device) and test it after every epoch.

    loss(logits, target) is the scalar mean over the batch; tick(text) is called after every epoch. The last incomplete
    mini-batch of an epoch is left out.
    """
    watch = observer or Observer()
    optimizer = make_optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, list(recipe.milestones), gamma=0.1)
    generator = torch.Generator().manual_seed(seed)
    history = History([], [], 0.0)
    start = time.perf_counter()
    watch.after_epoch(0)
    for epoch in range(1, recipe.epochs + 1):
        mean_loss = _epoch(model, loss, data, recipe, optimizer, generator, epoch, watch)
        if mean_loss is None:
            history.diverged = epoch
            break
        history.train_loss.append(mean_loss)
        history.test_error.append(error_rate(model, data.x_test, data.y_test))
        schedule.step()
        watch.after_epoch(epoch)
        tick(f"epoch {epoch}, test error {history.test_error[-1]:.2f} %")
    history.seconds = time.perf_counter() - start
    return history


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer that `recipe` names, over all parameters of `model`; ValueError for one that is not known."""
    if recipe.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    if recipe.optimizer != "sgd":
        raise ValueError(f"optimizer: expected sgd or adam, got {recipe.optimizer!r}")
    return torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov,
        weight_decay=recipe.weight_decay,
    )


def _epoch(
    model: nn.Module,
    loss: Loss,
    data: Dataset,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    generator: torch.Generator,
    epoch: int,
    watch: Observer,
) -> float | None:
    """One pass over the training set; its mean loss, or None once the loss was not finite."""
    model.train()
    device = data.x_train.device
    size = min(recipe.batch_size, len(data.x_train))
    steps = len(data.x_train) // size
    order = torch.randperm(len(data.x_train), generator=generator).to(device)
    total = torch.zeros((), device=device, dtype=torch.float64)
    for step in range(steps):
        pick = order[step * size : (step + 1) * size]
        x = data.x_train[pick]
        if recipe.augment:
            x = crop_and_flip(x, generator)
        logits = model(x)
        logits.retain_grad()
        value = loss(logits, data.y_train[pick])
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        watch.after_backward(epoch, step, logits)
        optimizer.step()
        total += value.detach()
    mean = float(total) / steps
    return mean if mean - mean == 0 else None


def error_rate(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Top-1 misclassification rate of `model` in evaluation mode, in percent; the model's mode is restored."""
    mode = model.training
    model.eval()
    with torch.no_grad():
        wrong = sum(
            (model(part).argmax(1) != labels).sum()
            for part, labels in zip(x.split(EVAL_BATCH), y.split(EVAL_BATCH), strict=True)
        )
    model.train(mode)
    return 100.0 * float(wrong) / len(x)


def crop_and_flip(x: Tensor, generator: torch.Generator) -> Tensor:
    """Random crops of the zero-padded images x (N, C, H, W), half of them mirrored, drawn from a CPU generator."""
    n, _, height, width = x.shape
    offsets = torch.randint(0, 2 * CROP_PADDING + 1, (2, n, 1), generator=generator).to(x.device)
    flip = torch.randint(0, 2, (n, 1), generator=generator).to(x.device, torch.bool)
    rows = torch.arange(height, device=x.device) + offsets[0]
    columns = torch.arange(width, device=x.device).expand(n, width)
    columns = torch.where(flip, columns.flip(1), columns) + offsets[1]
    padded = F.pad(x, [CROP_PADDING] * 4).permute(0, 2, 3, 1)
    picked = padded[torch.arange(n, device=x.device)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2).contiguous()

"""linear_ga_loss against cross-entropy, the squared error of PyTorch, and its own reference, eager and compiled."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..harness import Race
from . import _ga_loss


def _mse(logits: Tensor, target: Tensor) -> Tensor:
    """What one writes without this op; the one-hot target is part of the work."""
    hot = F.one_hot(target, logits.shape[1]).movedim(-1, 1)
    return F.mse_loss(logits, hot.to(logits.dtype))


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    yield from _ga_loss.races("linear_ga_loss", device, quick, {"eager F.one_hot + F.mse_loss": _mse})

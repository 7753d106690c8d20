"""pow3_ga_loss against cross-entropy and its own reference, eager and compiled."""

from collections.abc import Iterator

import torch

from ..harness import Race
from . import _ga_loss


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    yield from _ga_loss.races("pow3_ga_loss", device, quick)

"""What the tests of `effdl reproduce` share: a small data set, and trials on it."""

from __future__ import annotations

import torch

from effdl_fast.data import Dataset
from effdl_fast.reproduce import experiment


def blobs(shape=(1, 8, 8), train_samples=200, test_samples=100, classes=4):
    """Well separated Gaussian classes: learned within a few epochs."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.randn(classes, *shape, generator=generator)

    def part(count):
        y = torch.arange(count) % classes
        return centres[y] + 0.3 * torch.randn(count, *shape, generator=generator), y

    x_train, y_train = part(train_samples)
    x_test, y_test = part(test_samples)
    return Dataset("blobs", x_train, y_train, x_test, y_test, tuple("abcdefgh"[:classes]))


def trial(setting, plan, seed=0, data=None):
    return experiment.Trial(setting, plan, seed, data or blobs(), torch.device("cpu"), lambda text: None)


PLAN = experiment.Plan(trials=2, epochs=3, data="blobs", options={"train_samples": None, "test_samples": None})

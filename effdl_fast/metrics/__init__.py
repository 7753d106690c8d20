"""What samples and layers have to do with the labels (thesis chapter 5): redundancy, filters, metrics of layers."""

from effdl_fast.metrics.filtering import (
    RedundancySampler,
    k_filter,
    kept_curve,
    loss_filter,
    mini_batches,
    redundancy_depths,
)
from effdl_fast.metrics.online import FilterCount, OnlineFilter

__all__ = [
    "FilterCount",
    "OnlineFilter",
    "RedundancySampler",
    "k_filter",
    "kept_curve",
    "loss_filter",
    "mini_batches",
    "redundancy_depths",
]

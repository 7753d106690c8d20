"""What samples and layers have to do with the labels (thesis chapter 5): redundancy, filters, metrics of layers."""

from effdl_fast.metrics.filtering import (
    RedundancySampler,
    k_filter,
    kept_curve,
    loss_filter,
    mini_batches,
    redundancy_depths,
)

__all__ = ["RedundancySampler", "k_filter", "kept_curve", "loss_filter", "mini_batches", "redundancy_depths"]

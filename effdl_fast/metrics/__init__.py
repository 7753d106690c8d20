"""What samples and layers have to do with the labels (thesis chapter 5): redundancy, filters, metrics of layers."""

from effdl_fast.metrics.filtering import (
    RedundancySampler,
    k_filter,
    kept_curve,
    loss_filter,
    mini_batches,
    redundancy_depths,
)
from effdl_fast.metrics.history import Measurement, ProbeHistory
from effdl_fast.metrics.least_squares import least_squares_distance
from effdl_fast.metrics.online import FilterCount, OnlineFilter
from effdl_fast.metrics.probe import LayerProbe
from effdl_fast.metrics.redundancy import k_redundancy
from effdl_fast.metrics.representation import representational_entropy
from effdl_fast.metrics.selection import ConditionalEntropy, conditional_entropy, selections
from effdl_fast.metrics.voronoi import PureVoronoi, condensed_nearest_neighbour, pure_entropy, pure_voronoi
from effdl_fast.metrics.weights import (
    SoftmaxNormaliser,
    gradient_rms,
    numerical_rank,
    softmax_normaliser,
    stable_rank,
)

__all__ = [
    "ConditionalEntropy",
    "FilterCount",
    "LayerProbe",
    "Measurement",
    "OnlineFilter",
    "ProbeHistory",
    "PureVoronoi",
    "RedundancySampler",
    "SoftmaxNormaliser",
    "condensed_nearest_neighbour",
    "conditional_entropy",
    "gradient_rms",
    "k_filter",
    "k_redundancy",
    "kept_curve",
    "least_squares_distance",
    "loss_filter",
    "mini_batches",
    "numerical_rank",
    "pure_entropy",
    "pure_voronoi",
    "redundancy_depths",
    "representational_entropy",
    "selections",
    "softmax_normaliser",
    "stable_rank",
]

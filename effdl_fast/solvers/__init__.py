"""Networks fitted in closed form: a sequence of least squares problems, no gradients (thesis chapter 7)."""

from effdl_fast.solvers._estimator import LayerRecord
from effdl_fast.solvers._growth import Grow
from effdl_fast.solvers.elm import ELM
from effdl_fast.solvers.initialise import init_platonic_
from effdl_fast.solvers.patches import PatchFeatures
from effdl_fast.solvers.platonic import PlatonicMLP

__all__ = ["ELM", "Grow", "LayerRecord", "PatchFeatures", "PlatonicMLP", "init_platonic_"]

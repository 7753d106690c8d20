"""torch.nn modules over `effdl_fast.ops`."""

from effdl_fast.nn.ga_loss import ExpGALoss, LinearGALoss, Pow3GALoss
from effdl_fast.nn.linear_exp_ga_loss import LinearExpGALoss

__all__ = ["ExpGALoss", "LinearExpGALoss", "LinearGALoss", "Pow3GALoss"]

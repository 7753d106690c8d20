"""torch.nn modules over `effdl_fast.ops`."""

from effdl_fast.nn.ga_loss import ExpGALoss, LinearGALoss, Pow3GALoss

__all__ = ["ExpGALoss", "LinearGALoss", "Pow3GALoss"]

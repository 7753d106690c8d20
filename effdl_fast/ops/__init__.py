"""The compiled ops; every `X` has a plain-PyTorch twin `X_ref` with the same signature beside it."""

from effdl_fast.ops.exp_ga_loss import exp_ga_loss, exp_ga_loss_ref
from effdl_fast.ops.linear_exp_ga_loss import linear_exp_ga_loss, linear_exp_ga_loss_ref
from effdl_fast.ops.linear_ga_loss import linear_ga_loss, linear_ga_loss_ref
from effdl_fast.ops.pow3_ga_loss import pow3_ga_loss, pow3_ga_loss_ref

__all__ = [
    "exp_ga_loss",
    "exp_ga_loss_ref",
    "linear_exp_ga_loss",
    "linear_exp_ga_loss_ref",
    "linear_ga_loss",
    "linear_ga_loss_ref",
    "pow3_ga_loss",
    "pow3_ga_loss_ref",
]

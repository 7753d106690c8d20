"""Cases of linear_ga_loss, which has no alpha."""

from effdl_fast.testing.cases._ga_loss import Spec, cases

CASES = cases(
    Spec("minus_plus_one", (19, 35), options={"negative_value": -1.0}, flags={"gradcheck": True}),
    alpha=False,
)

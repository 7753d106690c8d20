"""Cases of pow3_ga_loss."""

from effdl_fast.testing.cases._ga_loss import Spec, cases

CASES = cases(
    Spec("beta", (19, 35), options={"beta": 0.4, "negative_value": -2.0}),
    Spec("beta_small", (4, 3), options={"beta": 0.4, "alpha": 0.5}, flags={"gradcheck": True}),
    Spec("2d_beta", (2, 5, 9, 17), options={"beta": 0.4}),
)

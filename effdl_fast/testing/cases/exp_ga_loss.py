"""Cases of exp_ga_loss. Logits of a few units: exponentials from 1e-3 to 1e3, and float16 does not overflow."""

from effdl_fast.testing.cases._ga_loss import Spec, cases

CASES = cases(
    Spec("clamp", (19, 35), options={"clamp": 1.0}),
    Spec("clamp_alpha", (19, 35), alpha="class", options={"clamp": 0.5}),
    Spec("clamp_small", (4, 3), options={"clamp": 0.5, "alpha": 0.7}, flags={"gradcheck": True}),
    Spec("2d_clamp", (2, 5, 9, 17), options={"clamp": 1.0}),
)

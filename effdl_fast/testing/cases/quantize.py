"""Cases of quantize."""

from effdl_fast.testing.cases._weights import Spec, weight_cases

CASES = weight_cases(
    *[Spec(f"laplace_{bits}_bits", "laplace", 3001, options={"bits": bits}) for bits in range(1, 17)],
    Spec("given_range", "heavy_tail", 3001, options={"bits": 8, "lo": -1.5, "hi": 2.25}),
    Spec("given_lo", "gaussian", 3001, options={"bits": 10, "lo": -0.25}),
    Spec("given_hi", "gaussian", 3001, options={"bits": 10, "hi": 1.0}),
    Spec("given_point", "gaussian", 3001, options={"bits": 8, "lo": 0.0, "hi": -0.0}),
    bits=8,
)

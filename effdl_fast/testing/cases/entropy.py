"""Cases of entropy. All elements: those that a seed chooses are compared by the tests."""

from effdl_fast.testing.cases._weights import Spec, weight_cases

CASES = weight_cases(
    *[Spec(f"laplace_{bits}_bits", "laplace", 3001, options={"bits": bits, "sample": 1.0}) for bits in (1, 8, 9, 16)],
    bits=4,
    sample=1.0,
)

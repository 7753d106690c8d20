"""Cases of knn: some of the points are the queries, the others the keys; or all are both."""

import torch
from torch import Tensor

from effdl_fast.testing.cases import Call
from effdl_fast.testing.cases._neighbours import Spec, neighbour_cases


def _make(spec: Spec, features: Tensor, labels: Tensor) -> Call:
    n = features.shape[0]
    if spec.n % 2:
        k = min(n - 1, 1 + spec.d % 30) if n else 0
        return Call((features, features, k), {**spec.options, "exclude_self": True}, ())
    queries, keys = features[: n // 3], features[n // 3 :]
    return Call((queries, keys, min(keys.shape[0], 1 + spec.d % 30)), spec.options, ())


ONE = {"dtypes": (torch.float32,)}
CASES = neighbour_cases(
    _make,
    Spec("all_keys", n=40, d=64 + 29, flags=ONE),  # k is the number of keys
    Spec("many_duplicates", "duplicates", n=1400, d=9, flags=ONE),
)

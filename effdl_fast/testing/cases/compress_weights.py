"""Cases of compress_weights."""

from dataclasses import replace
from typing import Any

import torch

from effdl_fast.testing.cases._weights import KINDS, LAYOUTS, SIZES, Spec, weight_cases


def _more(name: str, kind: str, n: int = 4201, **options: Any) -> Spec:
    flags: dict[str, Any] = {"dtypes": (torch.float32,)}  # every dtype is in the cases of all ops
    return Spec(name, kind, n, options=options, flags=flags)


_CASES = weight_cases(
    *[_more(f"{kind}_{codec}", kind, codec=codec) for kind in KINDS for codec in ("auto", "rans", "fixed", "raw")],
    *[_more(f"gaussian_{codec}_{n}", "gaussian", n, codec=codec)
      for codec in ("rans", "fixed") for n in (1, 40, 4096, 40_000)],
    *[_more(f"laplace_{bits}_bits", "laplace", 3001, bits=bits) for bits in range(1, 17)],
    *[_more(f"laplace_{bits}_bits_rans", "laplace", 3001, bits=bits, codec="rans") for bits in (1, 8, 12, 16)],
    _more("many_symbols", "uniform", 40_001, bits=16, codec="rans"),  # more than rANS has frequencies for
    _more("many_symbols_huffman", "uniform", 40_001, bits=16),
    _more("sampled", "gaussian", 50_000, sample=0.05, seed=2**63 - 1, codec="fixed"),
    _more("sampled_little", "heavy_tail", 100_003, sample=1e-9, seed=5, codec="fixed"),
    _more("sampled_all", "laplace", 50_000, sample=1.0, codec="fixed"),
    _more("floor_5", "gaussian", 20_000, floor=5, codec="fixed"),
    _more("floor_fraction", "gaussian", 20_000, floor=3.5, codec="fixed"),
    _more("floor_low", "gaussian", floor=-20, codec="fixed"),
    _more("floor_high", "gaussian", floor=1e6, codec="fixed"),
    _more("floor_coarse", "gaussian", entropy_bits=1, codec="fixed"),
    _more("floor_fine", "gaussian", entropy_bits=16, floor=0, codec="fixed"),
)  # fmt: skip

# References take long for large tensors; one dtype of each arithmetic is enough there.
_FEWER = {f"gaussian_{n}" for n in SIZES if n > 5000} | set(LAYOUTS)
CASES = [replace(c, dtypes=(torch.float32, torch.float64)) if c.name in _FEWER else c for c in _CASES]

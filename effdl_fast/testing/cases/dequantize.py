"""Cases of dequantize: codes of weights in each dtype, back in that dtype."""

from collections.abc import Callable
from typing import Any

import torch

from effdl_fast.ops import Quantized, quantize_ref
from effdl_fast.testing.cases import Call, Case
from effdl_fast.testing.cases._weights import Spec, laid_out, specs


def _case(spec: Spec) -> Case:
    def call(device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> Call:
        q = quantize_ref(spec.weights(generator).to(dtype), spec.options["bits"])
        codes = laid_out(q.codes.to(device), spec.layout)
        return Call((Quantized(codes, q.lo.to(device), q.hi.to(device), q.bits),), {"dtype": dtype}, ())

    make: Callable[..., Any] = call
    return Case(spec.name, make, **spec.flags)


CASES = [_case(s) for s in (
    *specs(bits=8),
    *[Spec(f"laplace_{bits}_bits", "laplace", 3001, options={"bits": bits}) for bits in range(1, 17)],
)]  # fmt: skip

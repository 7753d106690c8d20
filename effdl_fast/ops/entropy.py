"""The entropy of quantized weights, from a sample (thesis Algorithm 1, EstimateEntropy)."""

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import floating, integer, register
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._weights import MAX_BITS, fraction, workspace
from effdl_fast.ops._weights_ref import codes_of, entropy_of, grid, min_max, sampled
from effdl_fast.ops.histogram import histogram_ref


def entropy(x: Tensor, bits: int = 4, sample: float = 0.03, generator: torch.Generator | None = None) -> Tensor:
    """Entropy in bits of the codes of a random part of x, quantized with `bits` (thesis Algorithm 1, EstimateEntropy).

    The range is that of all of x. At least 1024 elements are looked at, in runs of 16 neighbours, one in each of as
    many equal parts of x (docs/format.md).

    Args:
        x: float32, float64, float16 or bfloat16, any shape and strides; read as a constant.
        bits: of the quantizer, 1 to 16; M in the thesis.
        sample: the part of x to look at, above 0 and at most 1; F in the thesis. 1 takes every element.
        generator: a CPU generator that one number is drawn from unless sample is 1; None: torch's default.

    Returns:
        float64 0-d tensor, from 0 to bits. 0 for an empty or constant x.

    Raises:
        ValueError: NaN or infinite elements, or a float64 range that float64 cannot divide by 2^bits. On CUDA values
            are not looked at in advance, and the result is NaN.
        TypeError, ValueError: wrong dtypes, bits or sample.
    """
    way = route("entropy", "x", x)
    if way == REFERENCE:
        return entropy_ref(x, bits, sample, generator)
    bits, sample = _check(x, bits, sample)
    seed = _draw_seed(sample, generator)
    if way == DISPATCHER:
        return torch.ops.effdl_fast.entropy(x.detach(), seed, bits, sample)
    return _run(x, seed, bits, sample)


def _check(x: Tensor, bits: int, sample: float) -> tuple[int, float]:
    floating("entropy", "x", x)
    return integer("entropy", "bits", bits, 1, MAX_BITS), fraction("entropy", sample)


def _draw_seed(sample: float, generator: torch.Generator | None) -> Tensor:
    """int64 on the CPU: a tensor, so that tracing does not need its value."""
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"entropy: generator must be a torch.Generator, got {type(generator).__name__}")
    if sample == 1.0:
        return torch.zeros((), dtype=torch.int64)
    return torch.randint(2**63 - 1, (), generator=generator)


def _run(x: Tensor, seed: Tensor, bits: int, sample: float) -> Tensor:
    x = x.contiguous()
    out = torch.empty((), dtype=torch.float64, device=x.device)
    _C.entropy(x, out, workspace("entropy", x), bits, sample, int(seed))
    return out


def _fake(x: Tensor, seed: Tensor, bits: int, sample: float) -> Tensor:
    return torch.empty((), dtype=torch.float64, device=x.device)


register("entropy", "(Tensor x, Tensor seed, int bits, float sample) -> Tensor", _run, _fake)


def entropy_ref(x: Tensor, bits: int = 4, sample: float = 0.03, generator: torch.Generator | None = None) -> Tensor:
    """`entropy` in plain PyTorch. Errors that depend on values are raised on every device."""
    bits, sample = _check(x, bits, sample)
    return estimate(x.detach().reshape(-1), bits, sample, int(_draw_seed(sample, generator)))


def estimate(x: Tensor, bits: int, sample: float, seed: int, op: str = "entropy") -> Tensor:
    lo, hi = min_max(op, x)
    codes = codes_of(sampled(x, sample, seed), grid(op, lo, hi, bits), bits)
    return entropy_of(histogram_ref(codes, 1 << bits))

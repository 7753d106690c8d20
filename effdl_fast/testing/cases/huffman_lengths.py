"""Cases of huffman_lengths: histograms of quantized weights, and counts that make long codes."""

from collections.abc import Callable

import torch
from torch import Tensor

from effdl_fast.testing.cases import Call, Case
from effdl_fast.testing.cases._weights import Spec, code_cases, counts_of


def _make(spec: Spec, codes: Tensor) -> Call:
    return Call((counts_of(codes, 256 if codes.element_size() == 1 else 65536),), {}, ())


def _counts(name: str, counts: Callable[[torch.Generator], Tensor], max_length: int | None = None) -> Case:
    def call(device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> Call:
        return Call((counts(generator).to(device),), {} if max_length is None else {"max_length": max_length}, ())

    return Case(name, call, dtypes=(torch.float32,))


def fibonacci(n: int) -> Tensor:
    """The counts with the longest optimal codes."""
    found = [1, 1]
    while len(found) < n:
        found.append(found[-1] + found[-2])
    return torch.tensor(found[:n])


CASES = [
    *code_cases(_make, others=(4, 10, 16)),
    *[_counts(f"fibonacci_{n}_limit_{limit}", lambda g, n=n: fibonacci(n), limit)  # type: ignore[misc]
      for n in (2, 16, 17, 18, 40) for limit in (6, 15, 16)],
    *[_counts(f"tight_{n}", lambda g, n=n: torch.arange(n) ** 3 + 1, (n - 1).bit_length())  # type: ignore[misc]
      for n in (2, 3, 5, 64, 100, 256)],
    _counts("equal", lambda g: torch.full((300,), 7)),
    _counts("powers_of_two", lambda g: 2 ** torch.arange(40)[torch.randperm(40, generator=g)], 12),
    _counts("one_bin", lambda g: torch.tensor([3])),
    _counts("largest_sum", lambda g: torch.tensor([1, 2**56, 2**55, 2**55 - 1, 0])),
    _counts("all_65536_skewed", lambda g: 1 + (torch.randn(65536, generator=g).abs() ** 20).long()),
]  # fmt: skip

"""Inputs of the compression ops: weights distributed like those of real networks, and their codes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from effdl_fast.ops import huffman_lengths_ref, quantize_ref
from effdl_fast.testing.cases import Call, Case

Draw = Callable[[int, torch.Generator], Tensor]


def _normal(n: int, g: torch.Generator) -> Tensor:
    return torch.randn(n, generator=g) * 0.05


def _laplace(n: int, g: torch.Generator) -> Tensor:
    return torch.empty(n).exponential_(generator=g) * torch.randn(n, generator=g).sign() * 0.03


def _outlier(n: int, g: torch.Generator) -> Tensor:
    x = _normal(n, g)
    x[n // 2 : n // 2 + 1] = 100.0
    return x


def _few(n: int, g: torch.Generator) -> Tensor:
    return torch.tensor([-0.5, 0.0, 0.5, 0.5, 0.75])[torch.randint(5, (n,), generator=g)]


def _rare(n: int, g: torch.Generator) -> Tensor:
    x = torch.where(torch.rand(n, generator=g) < 0.01, 1.0, 0.0)
    x[-1:] = 1.0
    return x


KINDS: dict[str, Draw] = {
    "gaussian": _normal,
    "laplace": _laplace,
    "heavy_tail": lambda n, g: torch.randn(n, generator=g) ** 5,
    "outlier": _outlier,
    "relu": lambda n, g: _normal(n, g).relu(),  # pruned: half of it is 0
    "uniform": lambda n, g: torch.rand(n, generator=g) - 0.25,
    "few_values": _few,
    "rare": _rare,  # an entropy far below one bit
    "ramp": lambda n, g: torch.linspace(-1.0, 2.0, n),
    "constant": lambda n, g: torch.full((n,), -0.125),
    "zeros_of_both_signs": lambda n, g: torch.where(torch.rand(n, generator=g) < 0.5, -0.0, 0.0),
}

LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "0-d": lambda x: x.reshape(()),
    "3-d": lambda x: x.view(3, 5, -1),
    "transposed": lambda x: x.view(7, -1).t(),
    "every_other": lambda x: torch.stack((x, torch.zeros_like(x)), -1)[..., 0],
    "expanded": lambda x: x[:, None].expand(-1, 3),
    "unaligned": lambda x: torch.cat([x[:1], x])[1:],
}


@dataclass(frozen=True)
class Spec:
    """One case: `n` weights of a kind in a layout, and what the op is to do with them."""

    name: str
    kind: str
    n: int
    layout: str = "contiguous"
    options: dict[str, Any] = field(default_factory=dict)  # of the op
    flags: dict[str, Any] = field(default_factory=dict)  # of Case

    def weights(self, generator: torch.Generator) -> Tensor:
        return KINDS[self.kind](self.n, generator)


# One element; few and many lanes; one chunk and a bit; odd sizes, so that every vector loop has a rest.
SIZES = (1, 2, 3, 17, 1000, 4095, 4096, 4097, 32767, 32768, 32769, 2 * 32768 + 4095, 2 * 32768 + 5001)
BENCH = (("1k", 1_000), ("10k", 10_000), ("64MB", 1 << 24))


def specs(**options: Any) -> list[Spec]:
    """What every op gets; `options` for all of them."""
    by_size = [Spec(f"gaussian_{n}", "gaussian", n, options=options) for n in SIZES]
    by_kind = [Spec(kind, kind, 5003, options=options) for kind in KINDS if kind != "gaussian"]
    by_layout = [Spec(layout, "gaussian", 1 if layout == "0-d" else 4200 * 7 // 5, layout, options)
                 for layout in LAYOUTS if layout != "contiguous"]  # fmt: skip
    empty = [Spec("empty", "gaussian", 0, options=options)]
    threads = [Spec("threads", "laplace", 1_000_003, options=options, flags={"test": False})]  # has a test of its own
    large = [Spec(f"bench_{name}", "gaussian", n, options=options, flags={"test": False, "bench": True})
             for name, n in BENCH]  # fmt: skip
    return [*by_size, *by_kind, *by_layout, *empty, *threads, *large]


def weight_cases(*more: Spec, **options: Any) -> list[Case]:
    """Cases of an op that takes weights: op(x, **options)."""

    def make(spec: Spec) -> Callable[[torch.device, torch.dtype, torch.Generator], Call]:
        def call(device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> Call:
            x = spec.weights(generator).to(dtype).to(device)
            return Call((LAYOUTS[spec.layout](x),), spec.options, ())

        return call

    return [Case(s.name, make(s), **s.flags) for s in (*specs(**options), *more)]


def codes_of(spec: Spec, bits: int, generator: torch.Generator) -> Tensor:
    """Codes of `bits` bits, uint8 or uint16, on the CPU."""
    return quantize_ref(spec.weights(generator), bits).codes


def laid_out(codes: Tensor, layout: str) -> Tensor:
    if codes.dtype is torch.uint16:  # torch.cat and others do not know it
        return LAYOUTS[layout](codes.view(torch.int16)).view(torch.uint16)
    return LAYOUTS[layout](codes)


def code_cases(make: Callable[[Spec, Tensor], Call], bits: int = 8, others: tuple[int, ...] = ()) -> list[Case]:
    """Cases of an op that takes codes. make(spec, codes of `bits` bits) -> call; `others` are tried on one spec."""

    def case(spec: Spec, bits: int, name: str) -> Case:
        def call(device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> Call:
            codes = codes_of(spec, bits, generator).to(device)
            made = make(spec, laid_out(codes, spec.layout))
            return Call(tuple(a.to(device) if isinstance(a, Tensor) else a for a in made.args), made.kwargs, ())

        return Case(name, call, dtypes=(torch.float32,), **spec.flags)

    found = [case(s, bits, s.name) for s in specs()]
    return found + [case(Spec("", "laplace", 33_003), b, f"laplace_{b}_bits") for b in others]


def counts_of(codes: Tensor, bins: int) -> Tensor:
    return torch.bincount(codes.reshape(-1).to(torch.int32), minlength=bins)


def lengths_for(codes: Tensor, bins: int, max_length: int | None = None) -> Tensor:
    """Lengths of a Huffman code for these codes."""
    return huffman_lengths_ref(counts_of(codes, bins), max_length)

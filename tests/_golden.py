"""What the golden files in tests/golden hold: inputs that never change, and what the format makes of them.

Inputs come from integers alone, not from torch's generator. A golden file is written once, by the references, and is
frozen then: `python -m tests._golden` writes those that are missing, and never another.
"""

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effdl_fast import ops

FOLDER = Path(__file__).parent / "golden"
INDEX = FOLDER / "index.json"


# ---- inputs ----


def draws(seed: int) -> Iterator[int]:
    """16-bit numbers: the high half of a linear congruential generator modulo 2^32."""
    state = seed
    while True:
        state = (state * 1664525 + 1013904223) % 2**32
        yield state >> 16


def _bell(i: int, draw: Callable[[], int]) -> float:
    """The sum of four numbers, nearly Gaussian, from -1/2 to 1/2 in steps of 2^-18."""
    return (draw() + draw() + draw() + draw() - 2 * 65535) / 2**18


def _heavy(i: int, draw: Callable[[], int]) -> float:
    return _bell(i, draw) ** 5 * 32


FIBONACCI = (1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987)  # 2583 symbols
_FIBONACCI_SYMBOLS = tuple(s for s, count in enumerate(FIBONACCI) for _ in range(count))

KINDS: dict[str, Callable[[int, Callable[[], int]], float]] = {
    "bell": _bell,
    "heavy": _heavy,
    "rare": lambda i, draw: float(draw() < 655 or i == 0),  # a hundredth is 1, the rest 0
    "two_values": lambda i, draw: 0.25 if draw() & 1 or i == 0 else -1.5,
    "signs_of_zero": lambda i, draw: -0.0 if draw() & 1 else 0.0,
    "fibonacci": lambda i, draw: float(_FIBONACCI_SYMBOLS[i]),  # the longest codes for their number
    "ramp": lambda i, draw: i / 64 - 3,
    "largest": lambda i, draw: _bell(i, draw) * 6.5e38,  # hi - lo overflows float32
    "smallest": lambda i, draw: draw() * 2.0**-149,  # a step below the normal float32
    "huge": lambda i, draw: (draw() - 32768) / 32768 * 1.7e308,  # hi - lo overflows float64
    "not_finite": lambda i, draw: (float("nan"), float("inf"), -float("inf"), -0.0, 1.0)[draw() % 5],
}


@functools.cache
def numbers(kind: str, n: int, seed: int = 1) -> list[float]:
    draw = draws(seed).__next__
    return [KINDS[kind](i, draw) for i in range(n)]


def symbols(kind: str, n: int, bins: int) -> list[int]:
    """Codes below `bins`, of which those in the middle are the most frequent ones for "bell"."""
    if kind == "fibonacci":
        return list(_FIBONACCI_SYMBOLS[:n])
    return [min(int((x + 0.5) * bins), bins - 1) if kind == "bell" else int(x) for x in numbers(kind, n)]


# ---- golden files ----


@dataclass(frozen=True)
class Weights:
    """A record: compress_weights of n numbers of a kind."""

    name: str
    kind: str
    n: int
    dtype: torch.dtype = torch.float32
    options: dict[str, Any] = field(default_factory=dict)

    def input(self) -> Tensor:
        return torch.tensor(numbers(self.kind, self.n), dtype=torch.float64).to(self.dtype)

    def make(self) -> tuple[bytes, dict[str, Any]]:
        record = ops.compress_weights_ref(self.input(), **self.options)
        return data_of(record), {"values": digest(ops.decompress_weights_ref(record))}

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Stream:
    """The payload of huffman_encode for n codes, with lengths by huffman_lengths."""

    name: str
    kind: str
    n: int
    bins: int
    limit: int | None = None

    def input(self) -> Tensor:
        codes = torch.tensor(symbols(self.kind, self.n, self.bins), dtype=torch.int32)
        return codes.to(torch.uint8 if self.bins <= 256 else torch.uint16)

    def make(self) -> tuple[bytes, dict[str, Any]]:
        codes = self.input()
        lengths = ops.huffman_lengths_ref(ops.histogram_ref(codes, self.bins), self.limit)
        stream = ops.huffman_encode_ref(codes, lengths)
        return data_of(stream.payload), {"sizes": stream.sizes.tolist(), "lengths": data_of(lengths).hex()}

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Packed:
    """The bytes of pack_bits."""

    bits: int
    n: int = 37

    @property
    def name(self) -> str:
        return f"packed_{self.bits}"

    def input(self) -> Tensor:
        codes = torch.tensor([d >> (16 - self.bits) for d in itertools.islice(draws(self.bits), self.n)])
        return codes.to(torch.int32).to(torch.uint8 if self.bits <= 8 else torch.uint16)

    def make(self) -> tuple[bytes, dict[str, Any]]:
        return data_of(ops.pack_bits_ref(self.input(), self.bits)), {}

    def __str__(self) -> str:
        return self.name


F16, BF16, F64 = torch.float16, torch.bfloat16, torch.float64


def _options(**options: Any) -> dict[str, Any]:
    return options


RECORDS = [
    Weights("default", "heavy", 1200),
    Weights("sampled", "bell", 9000, options=_options(floor=-1.5, seed=2**62 + 12345)),
    Weights("fine_estimate", "heavy", 700, options=_options(entropy_bits=9, sample=1.0, floor=-1)),
    Weights("huffman_few_lanes", "bell", 1001, options=_options(bits=5)),
    Weights("huffman_most_few_lanes", "heavy", 4095, options=_options(bits=3)),
    Weights("huffman_many_lanes", "heavy", 4096, options=_options(bits=3)),
    Weights("huffman_part_of_a_step", "heavy", 4133, options=_options(bits=3)),
    Weights("huffman_two_chunks", "rare", 32768 + 4100, options=_options(bits=2)),
    Weights("huffman_three_chunks", "rare", 2 * 32768 + 5, options=_options(bits=2)),
    Weights("huffman_11_bits", "heavy", 1500, options=_options(bits=11)),
    Weights("huffman_12_bits", "fibonacci", 2583, options=_options(bits=12)),
    Weights("huffman_16_bits", "two_values", 5000, options=_options(bits=16)),
    Weights("huffman_length_limit", "fibonacci", 2583, options=_options(bits=4)),
    Weights("huffman_float16", "bell", 800, F16, _options(bits=4)),
    Weights("huffman_bfloat16", "bell", 800, BF16, _options(bits=4)),
    Weights("huffman_float64", "bell", 800, F64, _options(bits=4)),
    Weights("huffman_overflowing_range", "largest", 800, options=_options(bits=4)),
    Weights("rans_few_lanes", "heavy", 1001, options=_options(bits=5, codec="rans")),
    Weights("rans_many_lanes", "heavy", 4133, options=_options(bits=3, codec="rans")),
    Weights("rans_two_chunks", "rare", 32768 + 4200, options=_options(bits=4, codec="rans")),
    Weights("rans_three_chunks", "rare", 2 * 32768 + 5, options=_options(bits=1, codec="rans")),
    Weights("rans_12_bits", "heavy", 1500, options=_options(bits=12, codec="rans")),
    Weights("rans_float16", "heavy", 800, F16, _options(bits=4, codec="rans")),
    Weights("rans_bfloat16", "heavy", 800, BF16, _options(bits=4, codec="rans")),
    Weights("rans_float64", "heavy", 800, F64, _options(bits=4, codec="rans")),
    Weights("auto_is_rans", "rare", 3000, options=_options(codec="auto")),
    Weights("auto_is_huffman", "bell", 600, options=_options(codec="auto", bits=4)),
    Weights("fixed_1_bit", "two_values", 21, options=_options(bits=1, codec="fixed")),
    Weights("fixed_7_bits", "ramp", 333, options=_options(bits=7, codec="fixed")),
    Weights("fixed_16_bits", "bell", 40, F64, _options(bits=16, codec="fixed")),
    Weights("fixed_float16", "ramp", 100, F16, _options(bits=9)),
    Weights("fixed_bfloat16", "ramp", 100, BF16, _options(bits=9)),
    Weights("fixed_two_values", "ramp", 2, options=_options(bits=3)),
    Weights("fixed_tiny_step", "smallest", 100, options=_options(bits=8)),
    Weights("constant", "ramp", 1),
    Weights("constant_zero", "signs_of_zero", 77),
    Weights("constant_float16", "ramp", 1, F16),
    Weights("constant_bfloat16", "ramp", 1, BF16),
    Weights("constant_float64", "ramp", 1, F64),
    Weights("raw", "heavy", 25, options=_options(codec="raw")),
    Weights("raw_float16", "heavy", 25, F16, _options(codec="raw")),
    Weights("raw_bfloat16", "heavy", 25, BF16, _options(codec="raw")),
    Weights("raw_range_that_float64_cannot_divide", "huge", 40, F64),
    Weights("raw_not_finite", "not_finite", 19, options=_options(nonfinite="raw")),
    Weights("raw_as_small_as_fixed", "bell", 3, F16, _options(bits=16)),
    Weights("empty", "ramp", 0),
    Weights("empty_float64", "ramp", 0, F64),
]
STREAMS = [
    Stream("stream_empty", "bell", 0, 8),
    Stream("stream_one_symbol", "rare", 1, 2),
    Stream("stream_one_symbol_many_lanes", "constant", 5000, 300),
    Stream("stream_few_lanes", "bell", 999, 100),
    Stream("stream_many_lanes", "bell", 4100, 16),
    Stream("stream_two_chunks", "rare", 32768 + 11, 2),
    Stream("stream_length_limit", "fibonacci", 2583, 16, 6),
    Stream("stream_length_15", "fibonacci", 2583, 16, 16),
    Stream("stream_uint16", "bell", 1500, 500),
]
PACKED = [Packed(bits) for bits in range(1, 17)]
KINDS["constant"] = lambda i, draw: 299.0
GOLDEN = [*RECORDS, *STREAMS, *PACKED]


def data_of(x: Tensor) -> bytes:
    return bytes(x.cpu().contiguous().view(torch.uint8).tolist())


def digest(x: Tensor) -> str:
    return hashlib.sha256(data_of(x)).hexdigest()[:16]


def path_of(golden: Weights | Stream | Packed) -> Path:
    return FOLDER / f"{golden.name}.bin"


def index() -> dict[str, dict[str, Any]]:
    """By name: what a file does not hold. Of weights the digest of what must come back."""
    found: dict[str, dict[str, Any]] = json.loads(INDEX.read_text()) if INDEX.exists() else {}
    return found


def main() -> None:
    known = index()
    for golden in GOLDEN:
        if golden.name in known or path_of(golden).exists():
            continue
        data, more = golden.make()
        path_of(golden).write_bytes(data)
        known[golden.name] = more
        print(f"{golden.name}: {len(data)} bytes")
    INDEX.write_text("{\n" + ",\n".join(f'"{name}": {json.dumps(more)}' for name, more in known.items()) + "\n}\n")


if __name__ == "__main__":
    main()

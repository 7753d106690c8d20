"""The parameters of Algorithm 1 (thesis 3.6), as `compress`, `save`, `Writer` and the exchanges take them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from effdl_fast import ops
from effdl_fast.compress._refused import RefusedValue
from effdl_fast.ops._arguments import FLOATS, integer, number
from effdl_fast.ops._weights import MAX_BITS, fraction
from effdl_fast.ops.compress_weights import CODECS

__all__ = ["FLOATS", "Options"]


@dataclass(frozen=True)
class Options:
    """How weights are quantized and coded: see `ops.compress_weights`. Checked at once; errors begin with `caller`."""

    floor: float = 6
    entropy_bits: int = 4
    sample: float = 0.03
    seed: int = 0
    codec: str = "huffman"
    nonfinite: str = "error"
    bits: int | None = None
    caller: str = "compress"

    def __post_init__(self) -> None:
        number(self.caller, "floor", self.floor)
        integer(self.caller, "entropy_bits", self.entropy_bits, 1, MAX_BITS)
        fraction(self.caller, self.sample)
        integer(self.caller, "seed", self.seed, 0, 2**63 - 1)
        if self.bits is not None:
            integer(self.caller, "bits", self.bits, 1, MAX_BITS)
        self._choice("codec", tuple(CODECS))
        self._choice("nonfinite", ("error", "raw"))

    def _choice(self, name: str, known: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if not isinstance(value, str) or value not in known:
            raise ValueError(f"{self.caller}: {name} must be one of {', '.join(map(repr, known))}, got {value!r}")

    def record(self, x: Tensor, what: str) -> Tensor:
        """Algorithm 1: the record of a contiguous 1-D float tensor, uint8 on x's device; errors name `what`."""
        try:
            return ops.compress_weights(
                x,
                floor=self.floor,
                entropy_bits=self.entropy_bits,
                sample=self.sample,
                seed=self.seed,
                codec=self.codec,
                bits=self.bits,
                nonfinite=self.nonfinite,
            )
        except ValueError as error:
            if bool(x.isfinite().all()):
                raise
            raise RefusedValue(
                f"{self.caller}: {what} holds NaN or infinity (nonfinite='raw' keeps such a tensor as it is)"
            ) from error

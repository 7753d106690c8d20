"""Weights to a record: large and small tensors, against Huff0 and zstd on ready codes, and plain PyTorch.

The peers only encode 8-bit codes that are there; ours finds range, entropy and codes too.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from effdl_fast import _C, ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "compress_weights"
WANTED = "wanted of one core: 0.6e9 weights/s with AVX-512, 0.4e9 with AVX2"
WANTED_SMALL = "wanted: less than 30 us"
WANTED_CUDA = "wanted of an H100: 0.3e12 bytes of weights per second, 75e9 weights/s"
CODECS = {"fixed": 2, "huffman": 3, "rans": 4}
# How far the record may be above the entropy of the codes, for tensors of a million weights.
EXCESS = {8: ("huffman", 0.02), 9: ("huffman", 0.02), 10: ("huffman", 0.02), 5: ("huffman", 0.04), 4: ("huffman", 0.04),
          3: ("auto", 0.04), 2: ("auto", 0.04)}  # fmt: skip


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    check_sizes(device)
    for weights in w.weights(device, quick):
        peers = w.coders(ops.quantize(weights.x, 8).codes)
        options: list[dict[str, Any]] = [{"bits": 8}] if quick else [{"bits": 8}, {"bits": 10}, {}]
        for o in options:
            for level in w.levels(device):
                with w.one_core(device, level):
                    yield _whole(weights, o, level, peers)
        if quick:
            break
        with w.one_core(device):
            yield _whole(weights, {"bits": 4, "codec": "rans"}, "", peers)
    x = w.gaussian(w.size(device, quick), device)
    for bits in (8, 10):
        run, written = into_buffer(x, {"bits": bits})
        yield from w.two_threads(OP, f"{4 * x.numel() >> 20} MB Gaussian, {bits} bits", run, x.nbytes + written,
                                 x.numel(), lambda b=bits: ops.compress_weights(x, bits=b), device)  # fmt: skip
    with w.one_core(device):
        for n in w.SMALL[:: 2 if quick else 1]:
            yield _plain(f"{n} Gaussian", x[:n].clone(), {}, [WANTED_SMALL])
        yield _plain(f"{min(x.numel(), 1 << 20) >> 10}k Gaussian, 8 bits", x[: 1 << 20].clone(), {"bits": 8}, [])


def check_sizes(device: torch.device) -> None:
    x = w.gaussian(1 << 20, device)
    for bits, (codec, most) in EXCESS.items():
        if (found := excess(x, bits, codec)) > most:
            raise AssertionError(f"{bits} bits, {codec}: {100 * found:.2f}% above the entropy")


def excess(x: Tensor, bits: int, codec: str) -> float:
    """Bytes of the record over what the entropy of the codes asks for, minus 1."""
    entropy = w.entropy_of(ops.histogram(ops.quantize(x, bits).codes, 1 << bits))
    return 8 * ops.compress_weights(x, bits=bits, codec=codec).numel() / (entropy * x.numel()) - 1


def into_buffer(x: Tensor, options: dict[str, Any]) -> tuple[Callable[[], object], int]:
    """compress_weights into memory that is there (the op itself on CUDA), and the bytes of the record."""
    if x.is_cuda:
        return lambda: ops.compress_weights(x, **options), ops.compress_weights(x, **options).numel()
    bits, codec = options.get("bits", 0), CODECS[options.get("codec", "huffman")]
    out = torch.empty(_C.compress_weights_bound(x.numel(), x.element_size(), bits or 10), dtype=torch.uint8)

    def run() -> int:
        return _C.compress_weights(x, out, None, 6.0, 4, 0.03, 0, codec, bits, False)

    return run, run()


def _whole(weights: w.Weights, options: dict[str, Any], level: str, peers: w.Coders) -> Race:
    x = weights.x
    record = ops.compress_weights(x, **options)
    run, written = into_buffer(x, options)
    bits = int(record[7])  # of the header
    share = excess(x, bits, options.get("codec", "huffman"))
    note = f"{bits} bits: {8 * written / x.numel():.3f} bits per weight, {100 * share:.2f}% above the entropy"

    def check() -> None:
        assert written == record.numel()
        half_step = float(x.max() - x.min()) / 2 ** (bits + 1)
        error = float((ops.decompress_weights(record) - x).abs().max())
        if error > 1.001 * half_step:
            raise AssertionError(f"an error of {error}, half a step is {half_step}")

    contestants = [Contestant(OURS, run)]
    if not x.is_cuda:
        contestants.append(Contestant(w.NEW, lambda: ops.compress_weights(x, **options)))
    contestants += [*peers.contestants("compress"), w.read(x)]
    words = ", ".join([f"{bits} bits" if "bits" in options else "bits by entropy", *[options.get("codec", "huffman")]])
    return Race(OP, f"{weights.name}, {words} {level}", contestants, x.nbytes + written, check, w.READ, (), x.device,
                [*weights.skipped, *peers.skipped], x.numel(),
                [note, WANTED_CUDA if x.is_cuda else WANTED])  # fmt: skip


def _plain(case: str, x: Tensor, options: dict[str, Any], notes: list[str]) -> Race:
    def check() -> None:
        w.assert_equal(ops.compress_weights(x, **options), ops.compress_weights_ref(x, **options))

    contestants = [Contestant(OURS, lambda: ops.compress_weights(x, **options)),
                   Contestant(w.EAGER, lambda: ops.compress_weights_ref(x, **options)), w.copy(x)]  # fmt: skip
    moved = x.nbytes + ops.compress_weights(x, **options).numel()
    return Race(OP, case, contestants, moved, check, w.COPY, [Target(w.EAGER, 20.0)], x.device, [w.NO_LOOP], x.numel(),
                notes)  # fmt: skip

"""A Huffman stream to codes, against Huff0, zstd and plain PyTorch. The floor is one write of the codes."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from effdl_fast import _C, ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "huffman_decode"


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for weights in w.weights(device, quick):
        codes = ops.quantize(weights.x, 8).codes
        peers, stream = w.coders(codes), stream_of(codes, 8)
        for level in w.levels(device):
            with w.one_core(device, level):
                yield _whole(f"{weights.name}, 8 bits {level}", codes, stream, peers, weights.skipped)
        if quick:
            break
    x = w.gaussian(w.size(device, quick), device)
    for bits in (8, 10):
        codes = ops.quantize(x, bits).codes
        stream = stream_of(codes, bits)
        moved = stream.payload.numel() + codes.nbytes
        yield from w.two_threads(OP, f"{codes.numel() >> 20}M codes of {bits} bits", into_buffer(stream, codes), moved,
                                 codes.numel(), lambda s=stream: ops.huffman_decode(s), device)  # fmt: skip
        few = codes[: 1 << 20]
        with w.one_core(device):
            yield _plain(f"{few.numel() >> 10}k codes of {bits} bits", few, stream_of(few, bits))


def stream_of(codes: Tensor, bits: int) -> ops.HuffmanStream:
    return ops.huffman_encode(codes, ops.huffman_lengths(ops.histogram(codes, 1 << bits)))


def into_buffer(stream: ops.HuffmanStream, codes: Tensor) -> Callable[[], object]:
    """huffman_decode into memory that is there; the op itself on CUDA."""
    if codes.is_cuda:
        return lambda: ops.huffman_decode(stream)
    back = torch.zeros_like(codes)
    return lambda: _C.huffman_decode(stream.payload, stream.sizes, stream.lengths, back, None)


def _whole(case: str, codes: Tensor, stream: ops.HuffmanStream, peers: w.Coders, skipped: list[str]) -> Race:
    contestants = [Contestant(OURS, into_buffer(stream, codes))]
    if not codes.is_cuda:
        contestants.append(Contestant(w.NEW, lambda: ops.huffman_decode(stream)))
    contestants += [*peers.contestants("decompress"), w.write(codes)]
    return Race(OP, case, contestants, stream.payload.numel() + codes.nbytes,
                lambda: w.assert_equal(ops.huffman_decode(stream), codes), w.WRITE, (), codes.device,
                [*skipped, *peers.skipped], codes.numel())  # fmt: skip


def _plain(case: str, codes: Tensor, stream: ops.HuffmanStream) -> Race:
    def check() -> None:
        w.assert_equal(ops.huffman_decode(stream), codes)
        w.assert_equal(ops.huffman_decode_ref(stream), codes)

    contestants = [Contestant(OURS, lambda: ops.huffman_decode(stream)),
                   Contestant(w.EAGER, lambda: ops.huffman_decode_ref(stream)), w.write(codes)]  # fmt: skip
    return Race(OP, case, contestants, stream.payload.numel() + codes.nbytes, check, w.WRITE, [Target(w.EAGER, 20.0)],
                codes.device, [w.NO_LOOP], codes.numel())  # fmt: skip

"""Codes to a Huffman stream: histogram, lengths and encoding against Huff0 and zstd, encoding against plain PyTorch."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from effdl_fast import _C, ops

from ..harness import OURS, Contestant, Race, Target
from . import _weights as w

OP = "huffman_encode"
CHUNK = 32768  # codes


def races(device: torch.device, quick: bool) -> Iterator[Race]:
    for weights in w.weights(device, quick):
        codes = ops.quantize(weights.x, 8).codes
        peers = w.coders(codes)
        for level in w.levels(device):
            with w.one_core(device, level):
                yield _whole(
                    f"{weights.name}, 8 bits: histogram, lengths, encode {level}", codes, peers, weights.skipped
                )
        if quick:
            break
    x = w.gaussian(w.size(device, quick), device)
    for bits in (8, 10):
        codes = ops.quantize(x, bits).codes
        lengths = ops.huffman_lengths(ops.histogram(codes, 1 << bits))
        run, written = into_buffer(codes, lengths)
        yield from w.two_threads(OP, f"{codes.numel() >> 20}M codes of {bits} bits", run, codes.nbytes + written,
                                 codes.numel(), lambda c=codes, t=lengths: ops.huffman_encode(c, t).payload,
                                 device)  # fmt: skip
        few = codes[: 1 << 20]
        with w.one_core(device):
            yield _plain(f"{few.numel() >> 10}k codes of {bits} bits", few, lengths)


def into_buffer(codes: Tensor, lengths: Tensor) -> tuple[Callable[[], object], int]:
    """huffman_encode into memory that is there (the op itself on CUDA), and the bytes of the payload."""
    if codes.is_cuda:
        return lambda: ops.huffman_encode(codes, lengths), ops.huffman_encode(codes, lengths).payload.numel()
    payload = torch.empty(_C.huffman_bound(codes.numel(), int(lengths.max())), dtype=torch.uint8)
    sizes = torch.empty(-(-codes.numel() // CHUNK), dtype=torch.int32)

    def run() -> int:
        return _C.huffman_encode(codes, lengths, payload, sizes, None)

    return run, run()


def _whole(case: str, codes: Tensor, peers: w.Coders, skipped: list[str]) -> Race:
    def new() -> ops.HuffmanStream:
        return ops.huffman_encode(codes, ops.huffman_lengths(ops.histogram(codes, 256)))

    contestants = [Contestant(w.NEW, new)]
    if codes.is_cuda:
        contestants = [Contestant(OURS, new)]
    else:
        counts, lengths = torch.empty(256, dtype=torch.int64), torch.empty(256, dtype=torch.uint8)
        payload = torch.empty(_C.huffman_bound(codes.numel(), 12), dtype=torch.uint8)
        sizes = torch.empty(-(-codes.numel() // CHUNK), dtype=torch.int32)

        def ours() -> None:
            _C.histogram(codes, counts)
            _C.huffman_lengths(counts, lengths, None, 12)
            _C.huffman_encode(codes, lengths, payload, sizes, None)

        contestants.insert(0, Contestant(OURS, ours))
    stream = new()
    entropy = w.entropy_of(ops.histogram(codes, 256))
    notes = [f"bits per code: entropy {entropy:.3f}, ours {8 * stream.payload.numel() / codes.numel():.3f}, "
             f"{peers.sizes()}"]  # fmt: skip

    def check() -> None:
        w.assert_equal(ops.huffman_decode(stream), codes)
        if not codes.is_cuda:
            ours()
            w.assert_equal(payload[: stream.payload.numel()], stream.payload)

    contestants += [*peers.contestants("compress"), w.read(codes)]
    return Race(OP, case, contestants, codes.nbytes + stream.payload.numel(), check, w.READ,
                peers.targets("compress", 0.8), codes.device, [*skipped, *peers.skipped], codes.numel(),
                notes)  # fmt: skip


def _plain(case: str, codes: Tensor, lengths: Tensor) -> Race:
    def check() -> None:
        ours, ref = ops.huffman_encode(codes, lengths), ops.huffman_encode_ref(codes, lengths)
        w.assert_equal(ours.payload, ref.payload)
        w.assert_equal(ours.sizes, ref.sizes)

    contestants = [Contestant(OURS, lambda: ops.huffman_encode(codes, lengths)),
                   Contestant(w.EAGER, lambda: ops.huffman_encode_ref(codes, lengths)), w.read(codes)]  # fmt: skip
    written = ops.huffman_encode(codes, lengths).payload.numel()
    return Race(OP, case, contestants, codes.nbytes + written, check, w.READ, [Target(w.EAGER, 20.0)], codes.device,
                [w.NO_LOOP], codes.numel())  # fmt: skip

"""Writes the first inputs of the fuzzers, beside tests/golden: `python -m tests.fuzz.corpus`."""

import struct
from pathlib import Path

import torch

from .._corrupt import huffman_record, rans_record
from .._golden import STREAMS, index, numbers, path_of, symbols

FOLDER = Path(__file__).parent / "corpus"
F32, F64, F16, BF16 = range(4)
RAW, FIXED, HUFFMAN, RANS, AUTO = range(5)
KEEP_NONFINITE = 128


def streams():
    """Number of codes and of symbols, lengths, sizes, payload."""
    known = index()
    for golden in STREAMS:
        lengths, sizes = bytes.fromhex(known[golden.name]["lengths"]), known[golden.name]["sizes"]
        head = struct.pack(f"<II{golden.bins}s{len(sizes)}I", golden.n, golden.bins, lengths, *sizes)
        yield golden.name, head + path_of(golden).read_bytes()


def records():
    """Those that no encoder writes, but a decoder reads."""
    last = [0, 0, 0, 1]
    yield "huffman_single_symbol", huffman_record(last, [3] * 100, bits=2)
    yield "huffman_single_symbol_many_lanes", huffman_record(last, [3] * 4200, bits=2)
    yield "rans_single_symbol", rans_record([16384, 0], [0] * 4200, bits=1)
    yield "huffman_all_lengths", huffman_record([*range(1, 17), 16] + [0] * 15, symbols("fibonacci", 500, 16), bits=5)
    yield "rans_11_bits", rans_record([8] * 2048, [(i * 1021) % 2048 for i in range(600)], bits=11)


def weights():
    """Eight bytes of options, as compress_weights.cpp reads them, and elements."""

    def elements(kind, n, dtype):
        x = torch.tensor(numbers(kind, n), dtype=torch.float64)
        return x.to((torch.float32, torch.float64, torch.float16, torch.bfloat16)[dtype]).view(torch.uint8)

    def case(kind, n, dtype=F32, repeated=0, floor=0.0, entropy_bits=4, sample=7, codec=HUFFMAN, bits=0):
        often = repeated.to_bytes(2, "little")
        options = [dtype, *often, int(8 * (floor + 8)), entropy_bits - 1, sample, codec, bits]
        return bytes([*options, *elements(kind, n, dtype).tolist()])

    yield "default", case("heavy", 300, floor=6.0)
    yield "many_lanes", case("bell", 60, repeated=70, floor=1.0)
    yield "chunks", case("bell", 80, repeated=500, bits=3)
    yield "rans", case("rare", 200, repeated=30, codec=RANS)
    yield "auto", case("heavy", 100, BF16, repeated=20, codec=AUTO)
    yield "fixed", case("ramp", 50, F16, codec=FIXED, bits=9)
    yield "float64", case("bell", 64, F64, repeated=3, bits=5)
    yield "wide", case("largest", 90, repeated=9, bits=4)
    yield "tiny_step", case("smallest", 90, repeated=9, bits=4)
    yield "raw", case("bell", 20, codec=RAW)
    yield "not_finite", case("not_finite", 19, bits=KEEP_NONFINITE | 4)
    yield "16_bits", case("bell", 90, repeated=60, bits=16)


def main() -> None:
    for name, inputs in (("huffman_decode", streams), ("decompress_weights", records), ("compress_weights", weights)):
        folder = FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        for stem, data in inputs():
            (folder / f"{stem}.bin").write_bytes(data)


if __name__ == "__main__":
    main()

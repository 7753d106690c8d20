"""Cases of huffman_decode: the streams of huffman_encode's cases."""

import torch

from effdl_fast.ops import HuffmanStream, huffman_encode_ref
from effdl_fast.testing.cases import Call, Case, huffman_encode


def _case(encode: Case) -> Case:
    def call(device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> Call:
        made = encode.make(torch.device("cpu"), dtype, generator)
        payload, sizes, lengths, shape = huffman_encode_ref(*made.args)
        return Call((HuffmanStream(payload.to(device), sizes.to(device), lengths.to(device), shape),), {}, ())

    return Case(encode.name, call, encode.test, bench=encode.bench, dtypes=encode.dtypes)


CASES = [_case(c) for c in huffman_encode.CASES]

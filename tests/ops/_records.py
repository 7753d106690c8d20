"""The header of docs/format.md's records, by the names of its fields."""

import struct

import torch

LAYOUT = "<4sBBBBQddBBBBIQ"
FIELDS = ("magic", "version", "codec", "dtype", "bits", "n", "lo", "hi", "smallest", "width", "chunk", "zero",
          "codebook", "payload")  # fmt: skip
CODECS = ("raw", "constant", "fixed", "huffman", "rans")
DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def header(record):
    """The fields; codec and dtype not as numbers but by name."""
    fields = dict(zip(FIELDS, struct.unpack(LAYOUT, bytes(record[:48].tolist())), strict=True))
    return {**fields, "codec": CODECS[fields["codec"]], "dtype": DTYPES[fields["dtype"]]}


def altered(record, **fields):
    """The record with other numbers in these fields."""
    values = dict(zip(FIELDS, struct.unpack(LAYOUT, bytes(record[:48].tolist())), strict=True))
    head = struct.pack(LAYOUT, *{**values, **fields}.values())
    return torch.cat([torch.tensor(list(head), dtype=torch.uint8, device=record.device), record[48:]])

"""The lane coder of docs/format.md in plain PyTorch, vectorised over chunks and lanes; Huffman and rANS.

uint32 states are int64 tensors here.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from effdl_fast.errors import CorruptDataError

CHUNK_BITS = 15
CHUNK = 1 << CHUNK_BITS  # symbols
MANY_LANES, FEW_LANES, FEW = 32, 4, 4096  # chunks of fewer than FEW symbols have FEW_LANES
START = 1 << 16  # of every state before encoding
RANS_BITS = 14
RANS_TOTAL = 1 << RANS_BITS


def chunk_count(n: int) -> int:
    return -(-n // CHUNK)


def lanes_of(symbols: int) -> int:
    return FEW_LANES if symbols < FEW else MANY_LANES


def lane_total(n: int) -> int:
    """Lanes of all chunks of n symbols."""
    full, rest = divmod(n, CHUNK)
    return full * MANY_LANES + (lanes_of(rest) if rest else 0)


# ---- codebooks ----


class HuffmanCode(NamedTuple):
    lengths: Tensor  # int64 (bins,), 0 for unused symbols
    codes: Tensor  # int64 (bins,), bit-reversed


class RansCode(NamedTuple):
    frequencies: Tensor  # int64 (bins,), 0 for unused symbols; their sum is RANS_TOTAL
    cumulative: Tensor  # int64 (bins,), the sum of those before


def canonical_codes(lengths: Tensor) -> Tensor:
    """RFC 1951 3.2.2: the code of each symbol, most significant bit first, by length and then by symbol.

    lengths: integers (bins,), 0 for unused symbols (their code is 0), at most 30. Returns int64 (bins,).
    """
    lengths = lengths.long()
    order = torch.argsort(torch.where(lengths > 0, lengths, 63), stable=True)[: int((lengths > 0).sum())]
    codes = torch.zeros_like(lengths)
    if order.numel():
        ordered = lengths[order]
        longest = int(ordered[-1])
        width = 1 << (longest - ordered)  # of a code among all words of the longest length
        codes[order] = (width.cumsum(0) - width) >> (longest - ordered)
    return codes


def reverse_bits(codes: Tensor, lengths: Tensor) -> Tensor:
    """Each code of `lengths` (up to 30) bits in reverse order."""
    backwards = torch.zeros_like(codes)
    for bit in range(int(lengths.max()) if lengths.numel() else 0):
        backwards |= ((codes >> bit) & 1) << (lengths - 1 - bit).clamp(min=0)
    return backwards


def huffman_code(lengths: Tensor) -> HuffmanCode:
    lengths = lengths.long()
    return HuffmanCode(lengths, reverse_bits(canonical_codes(lengths), lengths))


def complete(lengths: Tensor) -> bool:
    """Whether these are lengths of a Huffman code: up to 16, with a Kraft sum of 1, or a single symbol of length 1."""
    used = lengths[lengths > 0].long()
    if used.numel() == 1:
        return int(used) == 1
    return used.numel() > 0 and int(used.max()) <= 16 and int((1 << (16 - used)).sum()) == 1 << 16


def rans_frequencies(counts: Tensor) -> Tensor:
    """Frequencies with a sum of 2^14, int64 (bins,), of counts of which 1 to 2^14 are above 0."""
    counts = counts.long()
    used = counts > 0
    frequencies = torch.where(used, (counts * RANS_TOTAL // counts.sum()).clamp(min=1), 0)
    missing = RANS_TOTAL - int(frequencies.sum())
    falling = torch.argsort(counts, descending=True, stable=True)
    if missing > 0:
        frequencies[falling[0]] += missing
    elif missing < 0:
        spare = (frequencies[falling] - 1).clamp(min=0)
        before = spare.cumsum(0) - spare
        frequencies[falling] -= torch.minimum(spare, (-missing - before).clamp(min=0))
    return frequencies


def rans_code(frequencies: Tensor) -> RansCode:
    frequencies = frequencies.long()
    return RansCode(frequencies, frequencies.cumsum(0) - frequencies)


# ---- chunks ----


def _groups(n: int) -> Iterator[tuple[int, int, int]]:
    """(first chunk, chunks, symbols of each): the full chunks, then the last one."""
    full, rest = divmod(n, CHUNK)
    if full:
        yield 0, full, CHUNK
    if rest:
        yield full, 1, rest


def encode(codes: Tensor, code: HuffmanCode | RansCode) -> tuple[Tensor, Tensor]:
    """payload, uint8, and the size of each chunk in bytes, int32, for flat integer codes that `code` has."""
    codes = codes.long()
    n = codes.shape[0]
    parts, sizes = [], []
    for first, chunks, symbols in _groups(n):
        chunk = codes[first * CHUNK : first * CHUNK + chunks * symbols].view(chunks, symbols)
        for states, words in _encode_chunks(chunk, code):
            parts += [_little_endian(states, 4), _little_endian(words, 2)]
            sizes.append(4 * states.shape[0] + 2 * words.shape[0])
    payload = torch.cat(parts) if parts else torch.empty(0, dtype=torch.uint8, device=codes.device)
    return payload, torch.tensor(sizes, dtype=torch.int32, device=codes.device)


def _encode_chunks(chunk: Tensor, code: HuffmanCode | RansCode) -> list[tuple[Tensor, Tensor]]:
    """The states and the words of each row of (chunks, symbols)."""
    chunks, symbols = chunk.shape
    lanes = lanes_of(symbols)
    steps = -(-symbols // lanes)
    state = torch.full((chunks, lanes), START, dtype=torch.int64, device=chunk.device)
    emitted = torch.zeros(chunks, steps, lanes, dtype=torch.bool, device=chunk.device)
    words = torch.zeros(chunks, steps, lanes, dtype=torch.int64, device=chunk.device)
    for step in reversed(range(steps)):
        s = chunk[:, step * lanes : (step + 1) * lanes]
        active = s.shape[1]  # fewer than lanes in the last step
        x = state[:, :active]
        if isinstance(code, HuffmanCode):
            length = code.lengths[s]
            full = (x >> (32 - length)) != 0
        else:
            f = code.frequencies[s]
            full = (x >> 18) >= f
        emitted[:, step, :active] = full
        words[:, step, :active] = x & 0xFFFF
        x = torch.where(full, x >> 16, x)
        if isinstance(code, HuffmanCode):
            state[:, :active] = (x << length) | code.codes[s]
        else:
            state[:, :active] = ((x // f) << RANS_BITS) | (x % f) + code.cumulative[s]
    return [(state[i], words[i][emitted[i]]) for i in range(chunks)]


def _little_endian(values: Tensor, size: int) -> Tensor:
    shifts = torch.arange(0, 8 * size, 8, device=values.device)
    return ((values[:, None] >> shifts) & 0xFF).to(torch.uint8).reshape(-1)


def decode(payload: Tensor, sizes: Tensor, n: int, code: HuffmanCode | RansCode) -> Tensor:
    """n codes, int64. CorruptDataError unless the payload is what `encode` could have written."""
    sizes = sizes.long()
    if sizes.shape[0] != chunk_count(n):
        raise CorruptDataError(f"{n} symbols have {chunk_count(n)} chunks, not {sizes.shape[0]}")
    if bool((sizes < 0).any()) or int(sizes.sum()) != payload.shape[0]:
        raise CorruptDataError("the sizes of the chunks do not add up to the payload")
    ends = sizes.cumsum(0)
    out = []
    for first, chunks, symbols in _groups(n):
        group = slice(first, first + chunks)
        out.append(_decode_chunks(payload, ends[group] - sizes[group], sizes[group], symbols, code).reshape(-1))
    return torch.cat(out) if out else torch.empty(0, dtype=torch.int64, device=payload.device)


def _decode_chunks(payload: Tensor, starts: Tensor, sizes: Tensor, symbols: int,
                   code: HuffmanCode | RansCode) -> Tensor:  # fmt: skip
    lanes = lanes_of(symbols)
    if bool((sizes < 4 * lanes).any()) or bool((sizes % 2 != 0).any()):
        raise CorruptDataError("a chunk is smaller than its states, or has half a word")
    data = payload.long()
    where = starts[:, None] + 4 * torch.arange(lanes, device=payload.device)
    x = data[where] | data[where + 1] << 8 | data[where + 2] << 16 | data[where + 3] << 24
    if bool((x < START).any()):
        raise CorruptDataError("a state that no encoder has")
    table = _huffman_table(code) if isinstance(code, HuffmanCode) else _rans_table(code)
    word, last = starts + 4 * lanes, starts + sizes  # where each chunk's next word is, and where it ends
    out = torch.empty(sizes.shape[0], symbols, dtype=torch.int64, device=payload.device)
    for begin in range(0, symbols, lanes):
        active = min(lanes, symbols - begin)
        state = x[:, :active]
        if isinstance(code, HuffmanCode):
            symbol = table[state & (table.shape[0] - 1)]
            state = state >> code.lengths[symbol]
        else:
            slot = state & (RANS_TOTAL - 1)
            symbol = table[slot]
            state = code.frequencies[symbol] * (state >> RANS_BITS) + slot - code.cumulative[symbol]
        out[:, begin : begin + active] = symbol
        refill = state < START
        before = refill.cumsum(1) - refill.long()
        # A position past the end shows below; reading is kept inside the payload until then.
        at = (word[:, None] + 2 * before).clamp(max=data.shape[0] - 2)
        x[:, :active] = torch.where(refill, state << 16 | data[at] | data[at + 1] << 8, state)
        word = word + 2 * refill.sum(1)
    if bool((word != last).any()) or bool((x != START).any()):
        raise CorruptDataError("a chunk does not end where its last symbol does")
    return out


def _huffman_table(code: HuffmanCode) -> Tensor:
    """The symbol by the low bits of a state; a single symbol has both values of its bit."""
    used = code.lengths > 0
    longest = int(code.lengths.max())
    order = torch.argsort(torch.where(used, code.lengths, 63), stable=True)[: int(used.sum())]
    end = (1 << (longest - code.lengths[order])).cumsum(0)
    index = torch.arange(1 << longest, device=end.device)
    value = reverse_bits(index, torch.full_like(index, longest))
    return order[torch.searchsorted(end, value, right=True).clamp(max=order.shape[0] - 1)]


def _rans_table(code: RansCode) -> Tensor:
    symbols = torch.arange(code.frequencies.shape[0], device=code.frequencies.device)
    return torch.repeat_interleave(symbols, code.frequencies)

"""The streams of docs/format.md, written from its text in plain integers: one symbol after another, no tensors.

Slow and short. The vectorised reference and the kernels are compared with it.
"""


def chunks_of(symbols):
    return [symbols[i : i + 32768] for i in range(0, len(symbols), 32768)]


def lanes_of(chunk):
    return 4 if len(chunk) < 4096 else 32


def encode_huffman(symbols, lengths, codes):
    """Chunks as bytes. codes: canonical, most significant bit first."""

    def put(x, s):
        length = lengths[s]
        if x >> (32 - length):
            return x & 0xFFFF, x >> 16 << length | reverse(codes[s], length)
        return None, x << length | reverse(codes[s], length)

    return [_encode(chunk, put) for chunk in chunks_of(symbols)]


def encode_rans(symbols, frequencies):
    cumulative = [sum(frequencies[:s]) for s in range(len(frequencies))]

    def put(x, s):
        f, word = frequencies[s], None
        if x >> 18 >= f:
            word, x = x & 0xFFFF, x >> 16
        return word, (x // f << 14 | x % f) + cumulative[s]

    return [_encode(chunk, put) for chunk in chunks_of(symbols)]


def _encode(chunk, put):
    lanes = lanes_of(chunk)
    states, words = [1 << 16] * lanes, []
    for i in reversed(range(len(chunk))):
        word, states[i % lanes] = put(states[i % lanes], chunk[i])
        if word is not None:
            words.append(word)
    return b"".join(x.to_bytes(4, "little") for x in states) + b"".join(
        w.to_bytes(2, "little") for w in reversed(words)
    )


def decode_huffman(chunk, n, lengths, codes):
    """The n symbols of a chunk."""
    symbols = {(length, codes[s]): s for s, length in enumerate(lengths) if length}

    def get(x):
        code = length = 0
        while (length, code) not in symbols:
            code, length = code << 1 | (x >> length & 1), length + 1
        return symbols[length, code], x >> length

    lanes = lanes_of(range(n))
    states = [int.from_bytes(chunk[4 * i : 4 * i + 4], "little") for i in range(lanes)]
    at, out = 4 * lanes, []
    for i in range(n):
        symbol, x = get(states[i % lanes])
        if x < 1 << 16:
            x, at = x << 16 | int.from_bytes(chunk[at : at + 2], "little"), at + 2
        states[i % lanes] = x
        out.append(symbol)
    assert at == len(chunk) and states == [1 << 16] * lanes
    return out


def reverse(code, length):
    return int(f"{code:0{length}b}"[::-1], 2)


def canonical(lengths):
    """The algorithm of RFC 1951 3.2.2, step by step."""
    longest = max(lengths)
    count = [0] * (longest + 1)
    for length in lengths:
        count[length] += 1
    count[0] = code = 0
    following = [0] * (longest + 1)
    for bits in range(1, longest + 1):
        code = (code + count[bits - 1]) << 1
        following[bits] = code
    codes = []
    for length in lengths:
        codes.append(following[length] if length else 0)
        following[length] += 1
    return codes

#include "common/rans.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "pack_bits/pack_bits.h"
#include "unpack_bits/unpack_bits.h"

namespace effdl::rans {

using record::kRansBits;

std::vector<uint32_t> frequencies(const int64_t* counts, int64_t bins, int64_t total) {
  std::vector<uint32_t> f(static_cast<size_t>(bins));
  std::vector<int32_t> used;
  int64_t missing = kTotal;
  for (int64_t s = 0; s < bins; ++s) {
    if (counts[s] == 0) continue;
    // count * kTotal div total in two parts, since counts may have 57 bits.
    const int64_t whole = counts[s] / total * kTotal;
    const uint64_t share = static_cast<uint64_t>(static_cast<unsigned __int128>(counts[s] % total) * kTotal /
                                                 static_cast<unsigned __int128>(total));
    f[static_cast<size_t>(s)] = std::max(uint32_t{1}, static_cast<uint32_t>(whole) + static_cast<uint32_t>(share));
    missing -= f[static_cast<size_t>(s)];
    used.push_back(static_cast<int32_t>(s));
  }
  if (used.size() > kTotal) return {};
  std::stable_sort(used.begin(), used.end(), [&](int32_t a, int32_t b) { return counts[a] > counts[b]; });
  if (missing > 0) f[static_cast<size_t>(used[0])] += static_cast<uint32_t>(missing);
  for (size_t i = 0; missing < 0; ++i) {
    uint32_t& rich = f[static_cast<size_t>(used[i])];
    const uint32_t given = std::min(static_cast<uint32_t>(-missing), rich - 1);
    rich -= given;
    missing += given;
  }
  return f;
}

int64_t estimated_bits(const int64_t* counts, const std::vector<uint32_t>& frequency) {
  double bits = 0.0;
  for (size_t s = 0; s < frequency.size(); ++s) {
    if (counts[s] != 0) bits += static_cast<double>(counts[s]) * (kRansBits - std::log2(frequency[s]));
  }
  return static_cast<int64_t>(std::ceil(bits));
}

std::vector<uint8_t> write_codebook(const std::vector<uint32_t>& frequency) {
  const size_t bitmap = (frequency.size() + 7) / 8;
  std::vector<uint8_t> book(bitmap);
  std::vector<uint16_t> used;
  for (size_t s = 0; s < frequency.size(); ++s) {
    if (frequency[s] == 0) continue;
    book[s / 8] = static_cast<uint8_t>(book[s / 8] | 1u << (s % 8));
    used.push_back(static_cast<uint16_t>(frequency[s] - 1));
  }
  const int64_t n = static_cast<int64_t>(used.size());
  book.resize((bitmap + static_cast<size_t>(packed_bytes(n, kRansBits)) + 3) / 4 * 4);
  pack_bits::kernels().pack16(used.data(), n, kRansBits, book.data() + bitmap);
  return book;
}

std::vector<uint32_t> read_codebook(const uint8_t* data, int64_t bytes, int64_t bins) {
  const int64_t bitmap = (bins + 7) / 8;
  if (bytes < bitmap) return {};
  int64_t n = 0;
  for (int64_t i = 0; i < bitmap; ++i) n += __builtin_popcount(data[i]);
  if (bytes != (bitmap + packed_bytes(n, kRansBits) + 3) / 4 * 4) return {};
  std::vector<uint16_t> used(static_cast<size_t>(n));
  unpack_bits::kernels().unpack16(data + bitmap, n, kRansBits, used.data());
  std::vector<uint32_t> f(static_cast<size_t>(bins));
  size_t next = 0;
  uint64_t sum = 0;
  for (int64_t s = 0; s < bitmap * 8; ++s) {
    if (((data[s / 8] >> (s % 8)) & 1) == 0) continue;
    if (s >= bins) return {};
    f[static_cast<size_t>(s)] = used[next++] + uint32_t{1};
    sum += f[static_cast<size_t>(s)];
  }
  if (sum != kTotal) return {};
  // Unused bits are 0: what we would write is what we read.
  const std::vector<uint8_t> again = write_codebook(f);
  return std::memcmp(again.data(), data, again.size()) == 0 ? f : std::vector<uint32_t>{};
}

Tables make_tables(const std::vector<uint32_t>& frequency) {
  Tables t;
  t.symbols.resize(frequency.size());
  t.slots.resize(kTotal);
  uint32_t cumulative = 0;
  for (size_t s = 0; s < frequency.size(); ++s) {
    t.symbols[s] = frequency[s] << 16 | (cumulative & 0xffff);
    std::fill_n(t.slots.begin() + cumulative, frequency[s], static_cast<uint16_t>(s));
    cumulative += frequency[s];
  }
  return t;
}

bool encode_tile(const void* data, const uint16_t* codes, int64_t count, lanes::ChunkWriter* writer) {
  const uint32_t* symbols = static_cast<const Tables*>(data)->symbols.data();
  const int64_t lane = writer->lanes - 1;  // as a mask: lanes are a power of two
  for (int64_t i = count - 1; i >= 0; --i) {
    uint32_t& state = writer->state[i & lane];
    const uint32_t f = symbols[codes[i]] >> 16, cumulative = symbols[codes[i]] & 0xffff;
    if (f == 0) return false;
    uint32_t x = state;
    if (x >> (32 - kRansBits) >= f) {
      const uint16_t word = static_cast<uint16_t>(x);
      writer->words -= 2;
      std::memcpy(writer->words, &word, sizeof(word));
      x >>= 16;
    }
    state = (x / f << kRansBits | x % f) + cumulative;
  }
  return true;
}

bool decode_tile(const void* data, lanes::ChunkReader* chunks, int count, int64_t symbols, const uint8_t*,
                 uint16_t* const* out) {
  const Tables& t = *static_cast<const Tables*>(data);
  for (int c = 0; c < count; ++c) {
    lanes::ChunkReader& chunk = chunks[c];
    const int64_t lane = chunk.lanes - 1;
    for (int64_t i = 0; i < symbols; ++i) {
      uint32_t& x = chunk.state[i & lane];
      const uint32_t slot = x & (kTotal - 1), symbol = t.slots[slot], entry = t.symbols[symbol];
      out[c][i] = static_cast<uint16_t>(symbol);
      x = (entry >> 16) * (x >> kRansBits) + slot - (entry & 0xffff);
      if (x < lanes::kFirstState) {
        if (chunk.end - chunk.next < 2) return false;
        uint16_t word;
        std::memcpy(&word, chunk.next, sizeof(word));
        chunk.next += 2;
        x = x << 16 | word;
      }
    }
  }
  return true;
}

}  // namespace effdl::rans

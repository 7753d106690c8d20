#include "common/huffman_code.h"

#include <algorithm>
#include <cstring>

namespace effdl::huffman {
namespace {

uint32_t reversed(uint32_t code, int length) {
  uint32_t r = code;
  r = ((r & 0x5555u) << 1) | ((r >> 1) & 0x5555u);
  r = ((r & 0x3333u) << 2) | ((r >> 2) & 0x3333u);
  r = ((r & 0x0f0fu) << 4) | ((r >> 4) & 0x0f0fu);
  r = ((r & 0x00ffu) << 8) | ((r >> 8) & 0x00ffu);
  return r >> (16 - length);
}

// Number of codes of each length, and the first code of each.
struct Codes {
  int32_t count[kMaxLength + 1] = {0};
  uint32_t next[kMaxLength + 1] = {0};
  Codes(const uint8_t* lengths, int64_t bins) {
    for (int64_t s = 0; s < bins; ++s) ++count[lengths[s]];
    count[0] = 0;
    for (int l = 1; l <= kMaxLength; ++l) next[l] = (next[l - 1] + static_cast<uint32_t>(count[l - 1])) << 1;
  }
};

template <class Entry>
void fill(const uint8_t* lengths, int64_t bins, int bits, Entry* table) {
  Codes codes(lengths, bins);
  // Symbols by length, then by value.
  std::vector<int32_t> order(static_cast<size_t>(bins));
  int32_t start[kMaxLength + 2] = {0};
  for (int l = 1; l <= kMaxLength; ++l) start[l + 1] = start[l] + codes.count[l];
  int32_t at[kMaxLength + 1];
  std::copy(start, start + kMaxLength + 1, at);
  for (int64_t s = 0; s < bins; ++s) {
    if (lengths[s] != 0) order[static_cast<size_t>(at[lengths[s]]++)] = static_cast<int32_t>(s);
  }
  // A table for codes of up to l bits is two copies of that for l - 1, and the codes of l bits in what was left free.
  for (int l = 1; l <= bits; ++l) {
    const size_t half = size_t{1} << (l - 1);
    if (l > 1) std::memcpy(table + half, table, half * sizeof(Entry));
    for (int32_t i = start[l]; i < start[l + 1]; ++i) {
      table[reversed(codes.next[l]++, l)] = static_cast<Entry>(order[static_cast<size_t>(i)] << 5 | l);
    }
  }
}

}  // namespace

bool complete(const uint8_t* lengths, int64_t bins) {
  int64_t count[256] = {0};
  for (int64_t s = 0; s < bins; ++s) ++count[lengths[s]];
  int64_t used = 0, kraft = 0;
  for (int l = 1; l < 256; ++l) {
    used += count[l];
    if (l <= kMaxLength) kraft += count[l] << (kMaxLength - l);
    if (l > kMaxLength && count[l] != 0) return false;
  }
  return used == 0 || (used == 1 && count[1] == 1) || kraft == int64_t{1} << kMaxLength;
}

int longest(const uint8_t* lengths, int64_t bins) { return bins == 0 ? 0 : *std::max_element(lengths, lengths + bins); }

void encode_table(const uint8_t* lengths, int64_t bins, uint32_t* table, int64_t entries) {
  Codes codes(lengths, bins);
  for (int64_t s = 0; s < bins; ++s) {
    const int l = lengths[s];
    table[s] = l == 0 ? 0 : reversed(codes.next[l]++, l) | static_cast<uint32_t>(l) << 16;
  }
  std::fill(table + bins, table + entries, 0u);
}

DecodeTable decode_table(const uint8_t* lengths, int64_t bins) {
  DecodeTable t;
  t.bits = longest(lengths, bins);
  t.narrow = bins <= 1 << 11;
  const size_t size = size_t{1} << t.bits;
  if (t.narrow) {
    t.entries16.resize(size + 2);
    fill(lengths, bins, t.bits, t.entries16.data());
  } else {
    t.entries32.resize(size);
    fill(lengths, bins, t.bits, t.entries32.data());
  }
  // A single symbol leaves half of the table free: whatever the bit says, it is that symbol.
  int64_t used = 0;
  for (int64_t s = 0; s < bins; ++s) used += lengths[s] != 0;
  if (used == 1 && t.narrow) t.entries16[1] = t.entries16[0];
  if (used == 1 && !t.narrow) t.entries32[1] = t.entries32[0];
  return t;
}

}  // namespace effdl::huffman

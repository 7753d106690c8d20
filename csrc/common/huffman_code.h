// Canonical Huffman codes (RFC 1951 3.2.2) from code lengths, and the tables that the stream's two ends use.
#pragma once
#include <cstdint>
#include <vector>

namespace effdl::huffman {

constexpr int kMaxLength = 16;

// Whether lengths (0 = unused) are those of a complete code: all <= kMaxLength and a Kraft sum of 1, or one symbol of
// length 1, or none used at all.
bool complete(const uint8_t* lengths, int64_t bins);
int longest(const uint8_t* lengths, int64_t bins);

// Per symbol its bit-reversed code in the low half and its length in the high half; 0 for unused symbols. `table` has
// `entries` >= bins.
void encode_table(const uint8_t* lengths, int64_t bins, uint32_t* table, int64_t entries);

// T of docs/format.md. Entries hold symbol << 5 | length: 16 bits wide where symbols have at most 11.
struct DecodeTable {
  int bits = 0;                     // of the index: the longest length
  bool narrow = false;              // entries are in `entries16`, else in `entries32`
  std::vector<uint16_t> entries16;  // two more than 2^bits: vector loads are 32 bits wide
  std::vector<uint32_t> entries32;
};
// For complete lengths with at least one used symbol.
DecodeTable decode_table(const uint8_t* lengths, int64_t bins);

}  // namespace effdl::huffman

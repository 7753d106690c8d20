// The lanes of a chunk (common/lane_stream.h) one by one; the same names as in the other simd_lanes_*.h.
#pragma once
#include <stdint.h>
#include <string.h>

namespace effdl::scalar {

constexpr int kLaneWidth = 1;
using Lane = uint32_t;

inline Lane lane_set(uint32_t v) { return v; }
inline Lane lane_load(const uint32_t* p) { return *p; }
inline void lane_store(uint32_t* p, Lane v) { *p = v; }
inline Lane lane_codes(const uint16_t* p) { return *p; }
inline Lane lane_and(Lane a, Lane b) { return a & b; }
inline Lane lane_min(Lane a, Lane b) { return a < b ? a : b; }
inline Lane shift_right(Lane x, Lane by) { return x >> by; }
template <int by>
inline Lane shift_right(Lane x) {
  return x >> by;
}
inline Lane gather(const uint16_t* table, Lane index) { return table[index]; }
inline Lane gather(const uint32_t* table, Lane index) { return table[index]; }
inline void store_symbols(uint16_t* out, Lane entry, const uint16_t*) { *out = static_cast<uint16_t>(entry >> 5); }
inline void store_symbols(uint16_t* out, Lane entry, const uint32_t*) { *out = static_cast<uint16_t>(entry >> 5); }

// A state below 2^16 takes the next word of the stream. Reads 2 bytes.
inline Lane refill(Lane x, const uint8_t** next) {
  uint16_t word;
  memcpy(&word, *next, sizeof(word));
  const bool low = x < uint32_t{1} << 16;
  *next += low ? 2 : 0;
  return low ? x << 16 | word : x;
}

// Huffman step of the encoder: `entry` holds length << 16 | code. Writes 2 bytes below `words`.
inline Lane push(Lane x, Lane entry, uint8_t** words) {
  const uint32_t length = entry >> 16;
  const bool full = static_cast<uint64_t>(x) >> (32 - length) != 0;
  const uint16_t word = static_cast<uint16_t>(x);
  memcpy(*words - 2, &word, sizeof(word));
  *words -= full ? 2 : 0;
  return (full ? x >> 16 : x) << length | (entry & 0xffff);
}

}  // namespace effdl::scalar

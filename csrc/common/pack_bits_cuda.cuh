// Bit packing on the device, a 32-bit word or a code at a time: neighbouring threads read and write neighbours.
#pragma once
#include "common/weights_cuda.cuh"

namespace effdl::cuda {

// Word k of n codes with `bits` (1 to 16) bits each; code(i) gives code i, of which bits beyond `bits` are dropped.
template <class Code>
__device__ inline uint32_t packed_word(int64_t k, int64_t n, int bits, const Code& code) {
  const uint32_t mask = (1u << bits) - 1u;
  int64_t i = 32 * k / bits;
  uint32_t word = 0;
  for (int at = static_cast<int>(i * bits - 32 * k); at < 32 && i < n; at += bits, ++i) {
    const uint32_t v = code(i) & mask;
    word |= at < 0 ? v >> -at : v << at;
  }
  return word;
}

// The code at bit `bit` of n bytes with any alignment, none of which beyond is read. bits: 1 to 16.
__device__ inline uint32_t packed_code(const uint8_t* bytes, int64_t n, int64_t bit, int bits) {
  const int64_t first = bit >> 3;
  uint32_t v = 0;
#pragma unroll
  for (int b = 0; b < 3; ++b) {
    if (first + b < n) v |= static_cast<uint32_t>(bytes[first + b]) << (8 * b);
  }
  return v >> (bit & 7) & ((1u << bits) - 1u);
}

// All n codes, by the whole grid.
template <class Code>
__device__ inline void pack_all(int64_t n, int bits, uint8_t* packed, const Code& code) {
  const int64_t bytes = n / 8 * bits + (n % 8 * bits + 7) / 8;
  const bool aligned = reinterpret_cast<uintptr_t>(packed) % 4 == 0;
  for (int64_t k = grid_thread(); 4 * k < bytes; k += grid_threads()) {
    const uint32_t word = packed_word(k, n, bits, code);
    if (aligned && 4 * k + 4 <= bytes) {
      *reinterpret_cast<uint32_t*>(packed + 4 * k) = word;
    } else {
      for (int b = 0; b < 4 && 4 * k + b < bytes; ++b) packed[4 * k + b] = static_cast<uint8_t>(word >> (8 * b));
    }
  }
}

}  // namespace effdl::cuda

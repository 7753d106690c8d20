// The lanes of a chunk (common/lane_stream.h) in AVX2 vectors. Include only in files compiled with those flags.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#include "common/lane_permutations.h"

namespace effdl::avx2 {

constexpr int kLaneWidth = 8;
using Lane = __m256i;

static inline Lane lane_set(uint32_t v) { return _mm256_set1_epi32(static_cast<int>(v)); }
static inline Lane lane_load(const uint32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
static inline void lane_store(uint32_t* p, Lane v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
static inline Lane lane_codes(const uint16_t* p) {
  return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static inline Lane lane_and(Lane a, Lane b) { return _mm256_and_si256(a, b); }
static inline Lane lane_min(Lane a, Lane b) { return _mm256_min_epu32(a, b); }
static inline Lane shift_right(Lane x, Lane by) { return _mm256_srlv_epi32(x, by); }
template <int by>
static inline Lane shift_right(Lane x) {
  return _mm256_srli_epi32(x, by);
}
// The upper half of 16-bit entries is undefined.
static inline Lane gather(const uint16_t* table, Lane index) {
  return _mm256_i32gather_epi32(reinterpret_cast<const int*>(table), index, 2);
}
static inline Lane gather(const uint32_t* table, Lane index) {
  return _mm256_i32gather_epi32(reinterpret_cast<const int*>(table), index, 4);
}
static inline __m128i low_words(Lane v) {  // of values below 2^16
  return _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
}
// Bits 5 to 15 of entries, bits 5 and up of wide entries, as codes.
static inline void store_symbols(uint16_t* out, Lane entries, const uint16_t*) {
  const Lane symbols = _mm256_and_si256(_mm256_srli_epi32(entries, 5), _mm256_set1_epi32(0x7ff));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), low_words(symbols));
}
static inline void store_symbols(uint16_t* out, Lane entries, const uint32_t*) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), low_words(_mm256_srli_epi32(entries, 5)));
}

// States below 2^16 take the next words of the stream, in lane order. Reads 16 bytes.
static inline Lane refill(Lane x, const uint8_t** next) {
  const Lane low = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
  const unsigned mask = static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(low)));
  const Lane words = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(*next)));
  const Lane order = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(lanes::expand8[mask])));
  *next += 2 * __builtin_popcount(mask);
  const Lane filled = _mm256_or_si256(_mm256_slli_epi32(x, 16), _mm256_permutevar8x32_epi32(words, order));
  return _mm256_blendv_epi8(x, filled, low);
}

// Huffman step of the encoder: `entries` hold length << 16 | code. Writes up to 16 bytes below `words`.
static inline Lane push(Lane x, Lane entries, uint8_t** words) {
  const Lane length = _mm256_srli_epi32(entries, 16), low = _mm256_set1_epi32(0xffff);
  const Lane over = _mm256_srlv_epi32(x, _mm256_sub_epi32(_mm256_set1_epi32(32), length));
  const Lane empty = _mm256_cmpeq_epi32(over, _mm256_setzero_si256());
  const unsigned mask = 0xffu & ~static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(empty)));
  const Lane order = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(lanes::compress8[mask])));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(*words - 16),
                   low_words(_mm256_and_si256(_mm256_permutevar8x32_epi32(x, order), low)));
  *words -= 2 * __builtin_popcount(mask);
  x = _mm256_blendv_epi8(_mm256_srli_epi32(x, 16), x, empty);
  return _mm256_or_si256(_mm256_sllv_epi32(x, length), _mm256_and_si256(entries, low));
}

}  // namespace effdl::avx2

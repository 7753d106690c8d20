// The lanes of a chunk (common/lane_stream.h) in AVX-512 vectors. Include only in files compiled with those flags.
#pragma once
#include <immintrin.h>
#include <stdint.h>

#include "common/lane_permutations.h"

namespace effdl::avx512 {

constexpr int kLaneWidth = 16;
using Lane = __m512i;

static inline Lane lane_set(uint32_t v) { return _mm512_set1_epi32(static_cast<int>(v)); }
static inline Lane lane_load(const uint32_t* p) { return _mm512_loadu_si512(p); }
static inline void lane_store(uint32_t* p, Lane v) { _mm512_storeu_si512(p, v); }
static inline Lane lane_codes(const uint16_t* p) {
  return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
static inline Lane lane_and(Lane a, Lane b) { return _mm512_and_si512(a, b); }
static inline Lane lane_min(Lane a, Lane b) { return _mm512_min_epu32(a, b); }
static inline Lane shift_right(Lane x, Lane by) { return _mm512_srlv_epi32(x, by); }
template <int by>
static inline Lane shift_right(Lane x) {
  return _mm512_srli_epi32(x, by);
}
// The upper half of gather16's lanes is undefined.
static inline Lane gather(const uint16_t* table, Lane index) { return _mm512_i32gather_epi32(index, table, 2); }
static inline Lane gather(const uint32_t* table, Lane index) { return _mm512_i32gather_epi32(index, table, 4); }
// Bits 5 to 15 of entries, bits 5 and up of wide entries, as codes.
static inline void store_symbols(uint16_t* out, Lane entries, const uint16_t*) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_srli_epi16(_mm512_cvtepi32_epi16(entries), 5));
}
static inline void store_symbols(uint16_t* out, Lane entries, const uint32_t*) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm512_cvtepi32_epi16(_mm512_srli_epi32(entries, 5)));
}

// States below 2^16 take the next words of the stream, in lane order. Reads 32 bytes.
static inline Lane refill(Lane x, const uint8_t** next) {
  const __mmask16 low = _mm512_cmplt_epu32_mask(x, _mm512_set1_epi32(1 << 16));
  const __m512i words = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(*next)));
  *next += 2 * __builtin_popcount(low);
  return _mm512_mask_or_epi32(x, low, _mm512_slli_epi32(x, 16), _mm512_maskz_expand_epi32(low, words));
}

// Huffman step of the encoder: `entries` hold length << 16 | code. Writes up to 32 bytes below `words`.
static inline Lane push(Lane x, Lane entries, uint8_t** words) {
  const __m512i length = _mm512_srli_epi32(entries, 16), code = _mm512_and_si512(entries, _mm512_set1_epi32(0xffff));
  const __m512i over = _mm512_srlv_epi32(x, _mm512_sub_epi32(_mm512_set1_epi32(32), length));
  const __mmask16 full = _mm512_test_epi32_mask(over, over);
  const int count = __builtin_popcount(full);
  const __m256i packed = _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(full, x));
  const __m256i order = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lanes::to_the_end16[count]));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(*words - 32), _mm256_permutexvar_epi16(order, packed));
  *words -= 2 * count;
  x = _mm512_mask_srli_epi32(x, full, x, 16);
  return _mm512_or_si512(_mm512_sllv_epi32(x, length), code);
}

}  // namespace effdl::avx512

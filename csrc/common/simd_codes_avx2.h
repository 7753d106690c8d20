// Codes of the quantizer for the vectors of simd_avx2.h. Include only in files compiled with those flags.
#pragma once
#include "common/half.h"
#include "common/simd_avx2.h"

namespace effdl::avx2 {

static inline bool finite_bits(float v) { return (float_bits(v) & 0x7fffffffu) < 0x7f800000u; }
static inline float first_element(const float* p) { return *p; }
static inline float first_element(const half_t* p) { return half_to_float(p->bits); }
static inline float first_element(const bfloat16_t* p) { return bfloat16_to_float(p->bits); }
// The second operand where either is NaN.
static inline Vec min_vec(Vec a, Vec b) { return _mm256_min_ps(a, b); }
static inline Vec max_vec(Vec a, Vec b) { return _mm256_max_ps(a, b); }
// The larger magnitude by its bits, so that NaN and infinity win.
static inline Vec max_magnitude(Vec a, Vec b) {
  const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
  return as_vec(_mm256_max_epu32(_mm256_and_si256(_mm256_castps_si256(a), magnitude),
                                 _mm256_and_si256(_mm256_castps_si256(b), magnitude)));
}
// min(max(v, 0), last), 0 for NaN; floor comes with the conversion to integers.
static inline Vec clamp_to(Vec v, Vec last) { return _mm256_min_ps(_mm256_max_ps(v, _mm256_setzero_ps()), last); }

static inline __m256i codes_pair(Vec a, Vec b) {  // 16 uint16 in order
  return _mm256_permute4x64_epi64(_mm256_packus_epi32(_mm256_cvttps_epi32(a), _mm256_cvttps_epi32(b)), 0xd8);
}
static inline void store_codes_pair(uint16_t* p, Vec a, Vec b) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), codes_pair(a, b));
}
static inline void store_codes_pair(uint8_t* p, Vec a, Vec b) {
  const __m256i pair = codes_pair(a, b);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packus_epi16(_mm256_castsi256_si128(pair), _mm256_extracti128_si256(pair, 1)));
}
static inline Vec load_codes(const uint8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}
static inline Vec load_codes(const uint16_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

}  // namespace effdl::avx2

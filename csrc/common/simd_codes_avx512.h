// Codes of the quantizer for the vectors of simd_avx512.h. Include only in files compiled with those flags.
#pragma once
#include "common/half.h"
#include "common/simd_avx512.h"

namespace effdl::avx512 {

static inline bool finite_bits(float v) { return (float_bits(v) & 0x7fffffffu) < 0x7f800000u; }
static inline float first_element(const float* p) { return *p; }
static inline float first_element(const half_t* p) { return half_to_float(p->bits); }
static inline float first_element(const bfloat16_t* p) { return bfloat16_to_float(p->bits); }
// The second operand where either is NaN.
static inline Vec min_vec(Vec a, Vec b) { return _mm512_min_ps(a, b); }
static inline Vec max_vec(Vec a, Vec b) { return _mm512_max_ps(a, b); }
// The larger magnitude by its bits, so that NaN and infinity win.
static inline Vec max_magnitude(Vec a, Vec b) {
  const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
  return _mm512_castsi512_ps(_mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(a), magnitude),
                                              _mm512_and_si512(_mm512_castps_si512(b), magnitude)));
}
// min(max(v, 0), last), 0 for NaN; floor comes with the conversion to integers.
static inline Vec clamp_to(Vec v, Vec last) { return _mm512_min_ps(_mm512_max_ps(v, _mm512_setzero_ps()), last); }

static inline void store_codes_pair(uint16_t* p, Vec a, Vec b) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(_mm512_cvttps_epi32(a)));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + kWidth), _mm512_cvtepi32_epi16(_mm512_cvttps_epi32(b)));
}
static inline void store_codes_pair(uint8_t* p, Vec a, Vec b) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(a)));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + kWidth), _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(b)));
}
static inline Vec load_codes(const uint8_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
static inline Vec load_codes(const uint16_t* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
}

}  // namespace effdl::avx512

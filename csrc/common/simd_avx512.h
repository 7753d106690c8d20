// AVX-512 (F, BW, DQ, VL) vectors of 16 floats. Include only in files compiled with those flags.
#pragma once
#include <immintrin.h>
#include <string.h>

#include "common/dtype.h"

namespace effdl::avx512 {

constexpr int kWidth = 16;
using Vec = __m512;
using Mask = __mmask16;

static inline Vec from_bfloat16(__m256i v) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(v), 16));
}
static inline __m256i to_bfloat16(Vec v) {
  const __m512i u = _mm512_castps_si512(v);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
  const __m512i nan = _mm512_or_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(0x40));
  return _mm512_cvtepi32_epi16(_mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q), nan));
}
static inline __m256i to_half(Vec v) { return _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }

static inline Mask first_lanes(int count) { return static_cast<Mask>((1u << count) - 1u); }

static inline Vec set1(float a) { return _mm512_set1_ps(a); }
static inline Vec load(const float* p) { return _mm512_loadu_ps(p); }
static inline Vec load(const half_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
static inline Vec load(const bfloat16_t* p) {
  return from_bfloat16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
static inline Vec load_partial(const float* p, int n) { return _mm512_maskz_loadu_ps(first_lanes(n), p); }
static inline Vec load_partial(const half_t* p, int n) {
  return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
static inline Vec load_partial(const bfloat16_t* p, int n) {
  return from_bfloat16(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}
static inline void store(float* p, Vec v) { _mm512_storeu_ps(p, v); }
static inline void store(half_t* p, Vec v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_half(v)); }
static inline void store(bfloat16_t* p, Vec v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), to_bfloat16(v)); }
static inline void store_partial(float* p, Vec v, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), v); }
static inline void store_partial(half_t* p, Vec v, int n) { _mm256_mask_storeu_epi16(p, first_lanes(n), to_half(v)); }
static inline void store_partial(bfloat16_t* p, Vec v, int n) {
  _mm256_mask_storeu_epi16(p, first_lanes(n), to_bfloat16(v));
}
static inline void stream(float* p, Vec v) { _mm512_stream_ps(p, v); }
static inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
// After the last stream(): other threads see the data once they see what is written next.
static inline void stream_fence() { _mm_sfence(); }
static inline bool can_stream(const float* p) { return (reinterpret_cast<uintptr_t>(p) & 63) == 0; }

static inline Vec add(Vec a, Vec b) { return _mm512_add_ps(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm512_sub_ps(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm512_mul_ps(a, b); }
static inline Vec fmadd(Vec a, Vec b, Vec c) { return _mm512_fmadd_ps(a, b, c); }
static inline Vec fnmadd(Vec a, Vec b, Vec c) { return _mm512_fnmadd_ps(a, b, c); }
// max/min return their second operand when either is NaN.
static inline Vec max_keep_nan(Vec a, Vec lo) { return _mm512_max_ps(lo, a); }
static inline Vec min_keep_nan(Vec a, Vec hi) { return _mm512_min_ps(hi, a); }
static inline Mask nonzero(Vec a) { return _mm512_cmp_ps_mask(a, _mm512_setzero_ps(), _CMP_NEQ_UQ); }
static inline Mask greater(Vec a, Vec b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
static inline Vec select(Mask m, Vec a, Vec b) { return _mm512_mask_blend_ps(m, b, a); }
static inline Vec zero_unless(Mask m, Vec a) { return _mm512_maskz_mov_ps(m, a); }
static inline Mask lane_is(int64_t hot) { return hot >= 0 && hot < 16 ? static_cast<Mask>(1u << hot) : Mask{0}; }
// Lane l of the result is bit i + l.
static inline Mask mask_of_bits(const uint8_t* bits, int64_t i) {
  uint32_t word;
  memcpy(&word, bits + (i >> 3), sizeof(word));
  return static_cast<Mask>(word >> (i & 7));
}
static inline Mask equal_int(const int32_t* p, int n, int32_t value) {
  return _mm512_cmpeq_epi32_mask(_mm512_maskz_loadu_epi32(first_lanes(n), p), _mm512_set1_epi32(value));
}
static inline double sum(Vec a) {
  const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
  const __m512d high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
  return _mm512_reduce_add_pd(_mm512_add_pd(low, high));
}

static inline Vec round_nearest(Vec a) {
  return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline Vec scale_by_power(Vec a, Vec n) { return _mm512_scalef_ps(a, n); }
static inline Mask is_finite(Vec a) {
  return _mm512_cmp_ps_mask(_mm512_abs_ps(a), _mm512_set1_ps(__builtin_inff()), _CMP_LT_OQ);
}

}  // namespace effdl::avx512

#define EFFDL_SIMD_NAMESPACE avx512
#include "common/simd_exp.inl"
#undef EFFDL_SIMD_NAMESPACE

// AVX2 (with FMA and F16C) vectors of 8 floats. Include only in files compiled with those flags.
#pragma once
#include <immintrin.h>
#include <string.h>

#include "common/dtype.h"

namespace effdl::avx2 {

constexpr int kWidth = 8;
using Vec = __m256;
using Mask = __m256;  // all bits of a lane set or clear

static inline Vec as_vec(__m256i v) { return _mm256_castsi256_ps(v); }
static inline __m256i lane_ids() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
static inline __m256i first_lanes_int(int count) { return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), lane_ids()); }
static inline Mask first_lanes(int count) { return as_vec(first_lanes_int(count)); }

static inline Vec from_bfloat16(__m128i v) { return as_vec(_mm256_slli_epi32(_mm256_cvtepu16_epi32(v), 16)); }
static inline __m128i to_bfloat16(Vec v) {
  const __m256i u = _mm256_castps_si256(v);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
  const __m256i nan = _mm256_or_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(0x40));
  const __m256i r = _mm256_blendv_epi8(rounded, nan, _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)));
  return _mm_packus_epi32(_mm256_castsi256_si128(r), _mm256_extracti128_si256(r, 1));
}
static inline __m128i to_half(Vec v) { return _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// AVX2 masks no 16-bit elements: partial vectors go through a buffer.
static inline __m128i load16_partial(const void* p, int n) {
  uint16_t buffer[8] = {0};
  memcpy(buffer, p, static_cast<size_t>(n) * 2);
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(buffer));
}
static inline void store16_partial(void* p, __m128i v, int n) {
  uint16_t buffer[8];
  _mm_storeu_si128(reinterpret_cast<__m128i*>(buffer), v);
  memcpy(p, buffer, static_cast<size_t>(n) * 2);
}

static inline Vec set1(float a) { return _mm256_set1_ps(a); }
static inline Vec load(const float* p) { return _mm256_loadu_ps(p); }
static inline Vec load(const half_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static inline Vec load(const bfloat16_t* p) {
  return from_bfloat16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
static inline Vec load_partial(const float* p, int n) { return _mm256_maskload_ps(p, first_lanes_int(n)); }
static inline Vec load_partial(const half_t* p, int n) { return _mm256_cvtph_ps(load16_partial(p, n)); }
static inline Vec load_partial(const bfloat16_t* p, int n) { return from_bfloat16(load16_partial(p, n)); }
static inline void store(float* p, Vec v) { _mm256_storeu_ps(p, v); }
static inline void store(half_t* p, Vec v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_half(v)); }
static inline void store(bfloat16_t* p, Vec v) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), to_bfloat16(v)); }
static inline void store_partial(float* p, Vec v, int n) { _mm256_maskstore_ps(p, first_lanes_int(n), v); }
static inline void store_partial(half_t* p, Vec v, int n) { store16_partial(p, to_half(v), n); }
static inline void store_partial(bfloat16_t* p, Vec v, int n) { store16_partial(p, to_bfloat16(v), n); }
static inline void stream(float* p, Vec v) { _mm256_stream_ps(p, v); }
static inline void prefetch(const void* p) { _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0); }
// After the last stream(): other threads see the data once they see what is written next.
static inline void stream_fence() { _mm_sfence(); }
static inline bool can_stream(const float* p) { return (reinterpret_cast<uintptr_t>(p) & 31) == 0; }

static inline Vec add(Vec a, Vec b) { return _mm256_add_ps(a, b); }
static inline Vec sub(Vec a, Vec b) { return _mm256_sub_ps(a, b); }
static inline Vec mul(Vec a, Vec b) { return _mm256_mul_ps(a, b); }
static inline Vec fmadd(Vec a, Vec b, Vec c) { return _mm256_fmadd_ps(a, b, c); }
static inline Vec fnmadd(Vec a, Vec b, Vec c) { return _mm256_fnmadd_ps(a, b, c); }
// max/min return their second operand when either is NaN.
static inline Vec max_keep_nan(Vec a, Vec lo) { return _mm256_max_ps(lo, a); }
static inline Vec min_keep_nan(Vec a, Vec hi) { return _mm256_min_ps(hi, a); }
static inline Mask nonzero(Vec a) { return _mm256_cmp_ps(a, _mm256_setzero_ps(), _CMP_NEQ_UQ); }
static inline Mask greater(Vec a, Vec b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
static inline Vec select(Mask m, Vec a, Vec b) { return _mm256_blendv_ps(b, a, m); }
static inline Vec zero_unless(Mask m, Vec a) { return _mm256_and_ps(m, a); }
static inline Mask lane_is(int64_t hot) {
  const int id = hot >= 0 && hot < 8 ? static_cast<int>(hot) : -1;
  return as_vec(_mm256_cmpeq_epi32(_mm256_set1_epi32(id), lane_ids()));
}
// Lane l of the result is bit i + l.
static inline Mask mask_of_bits(const uint8_t* bits, int64_t i) {
  uint16_t word;
  memcpy(&word, bits + (i >> 3), sizeof(word));
  const __m256i lane_bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i own = _mm256_and_si256(_mm256_set1_epi32(word >> (i & 7)), lane_bit);
  return as_vec(_mm256_cmpeq_epi32(own, lane_bit));
}
static inline Mask equal_int(const int32_t* p, int n, int32_t value) {
  const __m256i lanes = first_lanes_int(n);
  return as_vec(_mm256_and_si256(_mm256_cmpeq_epi32(_mm256_maskload_epi32(p, lanes), _mm256_set1_epi32(value)), lanes));
}
static inline double sum(Vec a) {
  const __m256d d =
      _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(a)), _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)));
  const __m128d q = _mm_add_pd(_mm256_castpd256_pd128(d), _mm256_extractf128_pd(d, 1));
  return _mm_cvtsd_f64(_mm_add_sd(q, _mm_unpackhi_pd(q, q)));
}

static inline Vec round_nearest(Vec a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// a * 2^n for integral |n| <= 252, in two steps so that each factor is a normal number.
static inline Vec scale_by_power(Vec a, Vec n) {
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1);
  const __m256i rest = _mm256_sub_epi32(whole, half);
  const __m256i bias = _mm256_set1_epi32(127);
  const Vec f = as_vec(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  const Vec g = as_vec(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
  return _mm256_mul_ps(_mm256_mul_ps(a, f), g);
}
static inline Mask is_finite(Vec a) {
  const Vec magnitude = _mm256_and_ps(a, as_vec(_mm256_set1_epi32(0x7fffffff)));
  return _mm256_cmp_ps(magnitude, set1(__builtin_inff()), _CMP_LT_OQ);
}

}  // namespace effdl::avx2

#define EFFDL_SIMD_NAMESPACE avx2
#include "common/simd_exp.inl"
#undef EFFDL_SIMD_NAMESPACE

// AVX2 vectors of 4 doubles beside those of 8 floats, with overloads of one name for both, and the functions of
// activations. Include only in files compiled with those flags.
#pragma once
#include "common/simd_avx2.h"

namespace effdl::avx2 {

constexpr int kWideWidth = 4;
using Wide = __m256d;

template <class Real>
struct Lanes;
template <>
struct Lanes<float> {
  static constexpr int kCount = 8;
  using V = Vec;
};
template <>
struct Lanes<double> {
  static constexpr int kCount = 4;
  using V = Wide;
};

static inline Vec splat(float a) { return _mm256_set1_ps(a); }
static inline Wide splat(double a) { return _mm256_set1_pd(a); }
static inline Wide load(const double* p) { return _mm256_loadu_pd(p); }
static inline void store(double* p, Wide v) { _mm256_storeu_pd(p, v); }
static inline void store_partial(double* p, Wide v, int n) {
  const __m256i lanes = _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
  _mm256_maskstore_pd(p, lanes, v);
}
static inline Wide add(Wide a, Wide b) { return _mm256_add_pd(a, b); }
static inline Wide sub(Wide a, Wide b) { return _mm256_sub_pd(a, b); }
static inline Wide mul(Wide a, Wide b) { return _mm256_mul_pd(a, b); }
static inline Wide fmadd(Wide a, Wide b, Wide c) { return _mm256_fmadd_pd(a, b, c); }
static inline Wide fnmadd(Wide a, Wide b, Wide c) { return _mm256_fnmadd_pd(a, b, c); }
static inline Vec quotient(Vec a, Vec b) { return _mm256_div_ps(a, b); }
static inline Wide quotient(Wide a, Wide b) { return _mm256_div_pd(a, b); }
static inline double sum(Wide a) {
  const __m128d q = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
  return _mm_cvtsd_f64(_mm_add_sd(q, _mm_unpackhi_pd(q, q)));
}
// As doubles.
static inline void store_wide(double* p, Vec v) {
  _mm256_storeu_pd(p, _mm256_cvtps_pd(_mm256_castps256_ps128(v)));
  _mm256_storeu_pd(p + 4, _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)));
}
static inline void store_wide(double* p, Wide v) { _mm256_storeu_pd(p, v); }

static inline Wide max_keep_nan(Wide a, Wide lo) { return _mm256_max_pd(lo, a); }
static inline Wide min_keep_nan(Wide a, Wide hi) { return _mm256_min_pd(hi, a); }
static inline Wide greater(Wide a, Wide b) { return _mm256_cmp_pd(a, b, _CMP_GT_OQ); }
static inline Wide select(Wide m, Wide a, Wide b) { return _mm256_blendv_pd(b, a, m); }
static inline Vec magnitude(Vec a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline Wide magnitude(Wide a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }
// a, which has no sign, with that of s.
static inline Vec with_sign_of(Vec a, Vec s) { return _mm256_or_ps(a, _mm256_and_ps(_mm256_set1_ps(-0.0f), s)); }
static inline Wide with_sign_of(Wide a, Wide s) { return _mm256_or_pd(a, _mm256_and_pd(_mm256_set1_pd(-0.0), s)); }
static inline Wide round_nearest(Wide a) { return _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
// 2^n for integral n from -1022 to 1023 (floats: -126 to 127).
static inline Vec power_of_two(Vec n) {
  return as_vec(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
static inline Wide power_of_two(Wide n) {
  const __m256i whole = _mm256_cvtepi32_epi64(_mm256_cvtpd_epi32(n));
  return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_add_epi64(whole, _mm256_set1_epi64x(1023)), 52));
}

}  // namespace effdl::avx2

#define EFFDL_SIMD_NAMESPACE avx2
#include "common/simd_activations.inl"
#undef EFFDL_SIMD_NAMESPACE

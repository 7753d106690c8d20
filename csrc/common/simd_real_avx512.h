// AVX-512 vectors of 8 doubles beside those of 16 floats, with overloads of one name for both, and the functions of
// activations. Include only in files compiled with those flags.
#pragma once
#include "common/simd_avx512.h"

namespace effdl::avx512 {

constexpr int kWideWidth = 8;
using Wide = __m512d;

template <class Real>
struct Lanes;
template <>
struct Lanes<float> {
  static constexpr int kCount = 16;
  using V = Vec;
};
template <>
struct Lanes<double> {
  static constexpr int kCount = 8;
  using V = Wide;
};

static inline Vec splat(float a) { return _mm512_set1_ps(a); }
static inline Wide splat(double a) { return _mm512_set1_pd(a); }
static inline Wide load(const double* p) { return _mm512_loadu_pd(p); }
static inline void store(double* p, Wide v) { _mm512_storeu_pd(p, v); }
static inline void store_partial(double* p, Wide v, int n) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << n) - 1u), v);
}
static inline Wide add(Wide a, Wide b) { return _mm512_add_pd(a, b); }
static inline Wide sub(Wide a, Wide b) { return _mm512_sub_pd(a, b); }
static inline Wide mul(Wide a, Wide b) { return _mm512_mul_pd(a, b); }
static inline Wide fmadd(Wide a, Wide b, Wide c) { return _mm512_fmadd_pd(a, b, c); }
static inline Wide fnmadd(Wide a, Wide b, Wide c) { return _mm512_fnmadd_pd(a, b, c); }
static inline Vec quotient(Vec a, Vec b) { return _mm512_div_ps(a, b); }
static inline Wide quotient(Wide a, Wide b) { return _mm512_div_pd(a, b); }
static inline double sum(Wide a) { return _mm512_reduce_add_pd(a); }
// As doubles.
static inline void store_wide(double* p, Vec v) {
  _mm512_storeu_pd(p, _mm512_cvtps_pd(_mm512_castps512_ps256(v)));
  _mm512_storeu_pd(p + 8, _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)));
}
static inline void store_wide(double* p, Wide v) { _mm512_storeu_pd(p, v); }

static inline Wide max_keep_nan(Wide a, Wide lo) { return _mm512_max_pd(lo, a); }
static inline Wide min_keep_nan(Wide a, Wide hi) { return _mm512_min_pd(hi, a); }
static inline __mmask8 greater(Wide a, Wide b) { return _mm512_cmp_pd_mask(a, b, _CMP_GT_OQ); }
static inline Wide select(__mmask8 m, Wide a, Wide b) { return _mm512_mask_blend_pd(m, b, a); }
static inline Vec magnitude(Vec a) { return _mm512_abs_ps(a); }
static inline Wide magnitude(Wide a) { return _mm512_abs_pd(a); }
// a, which has no sign, with that of s.
static inline Vec with_sign_of(Vec a, Vec s) { return _mm512_or_ps(a, _mm512_and_ps(_mm512_set1_ps(-0.0f), s)); }
static inline Wide with_sign_of(Wide a, Wide s) { return _mm512_or_pd(a, _mm512_and_pd(_mm512_set1_pd(-0.0), s)); }
static inline Wide round_nearest(Wide a) {
  return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
// 2^n for integral n.
static inline Vec power_of_two(Vec n) { return _mm512_scalef_ps(_mm512_set1_ps(1.0f), n); }
static inline Wide power_of_two(Wide n) { return _mm512_scalef_pd(_mm512_set1_pd(1.0), n); }

}  // namespace effdl::avx512

#define EFFDL_SIMD_NAMESPACE avx512
#include "common/simd_activations.inl"
#undef EFFDL_SIMD_NAMESPACE

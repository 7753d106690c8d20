// One-lane stand-in for the vector types: same names as simd_avx2.h and simd_avx512.h, plain C++.
#pragma once
#include <math.h>
#include <string.h>

#include "common/dtype.h"
#include "common/half.h"

namespace effdl::scalar {

constexpr int kWidth = 1;
using Vec = float;
using Mask = bool;

inline Vec set1(float a) { return a; }
inline Vec load(const float* p) { return *p; }
inline Vec load(const half_t* p) { return half_to_float(p->bits); }
inline Vec load(const bfloat16_t* p) { return bfloat16_to_float(p->bits); }
template <class T>
inline Vec load_partial(const T* p, int) {
  return load(p);
}
inline void store(float* p, Vec v) { *p = v; }
inline void store(half_t* p, Vec v) { p->bits = float_to_half(v); }
inline void store(bfloat16_t* p, Vec v) { p->bits = float_to_bfloat16(v); }
template <class T>
inline void store_partial(T* p, Vec v, int) {
  store(p, v);
}
inline void stream(float* p, Vec v) { *p = v; }
inline void prefetch(const void*) {}
inline void stream_fence() {}
inline bool can_stream(const float*) { return false; }

inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec sub(Vec a, Vec b) { return a - b; }
inline Vec mul(Vec a, Vec b) { return a * b; }
inline Vec fmadd(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec fnmadd(Vec a, Vec b, Vec c) { return c - a * b; }
inline Vec max_keep_nan(Vec a, Vec lo) { return a < lo ? lo : a; }
inline Vec min_keep_nan(Vec a, Vec hi) { return a > hi ? hi : a; }
inline Mask nonzero(Vec a) { return a != 0.0f; }
inline Mask greater(Vec a, Vec b) { return a > b; }
inline Vec select(Mask m, Vec a, Vec b) { return m ? a : b; }
inline Vec zero_unless(Mask m, Vec a) { return m ? a : 0.0f; }
// Lane l of the result is whether l == hot; hot may be any integer.
inline Mask lane_is(int64_t hot) { return hot == 0; }
inline Mask mask_of_bits(const uint8_t* bits, int64_t i) { return ((bits[i >> 3] >> (i & 7)) & 1) != 0; }
inline Mask equal_int(const int32_t* p, int, int32_t value) { return *p == value; }
inline double sum(Vec a) { return a; }
inline Mask first_lanes(int count) { return count > 0; }

inline Vec exp_plain(Vec a) { return static_cast<float>(::exp(static_cast<double>(a))); }
// exp(a + hi + lo) in double: exact enough that the rounding to float is the only error that counts.
inline Vec exp_sum(Vec a, Vec hi, Vec lo) {
  return static_cast<float>(::exp(static_cast<double>(a) + static_cast<double>(hi) + static_cast<double>(lo)));
}

}  // namespace effdl::scalar

// float64 stand-in for the vector types, one lane: precision is what float64 callers ask for.
#pragma once
#include <math.h>
#include <stdint.h>

namespace effdl::f64 {

constexpr int kWidth = 1;
using Vec = double;
using Mask = bool;

inline Vec set1(double a) { return a; }
inline Vec load(const double* p) { return *p; }
inline Vec load_partial(const double* p, int) { return *p; }
inline void store(double* p, Vec v) { *p = v; }
inline void store_partial(double* p, Vec v, int) { *p = v; }
inline void stream(double* p, Vec v) { *p = v; }
inline void prefetch(const void*) {}
inline void stream_fence() {}
inline bool can_stream(const double*) { return false; }
inline Vec add(Vec a, Vec b) { return a + b; }
inline Vec sub(Vec a, Vec b) { return a - b; }
inline Vec mul(Vec a, Vec b) { return a * b; }
inline Vec fmadd(Vec a, Vec b, Vec c) { return a * b + c; }
inline Vec fnmadd(Vec a, Vec b, Vec c) { return c - a * b; }
inline Mask nonzero(Vec a) { return a != 0.0; }
inline Mask greater(Vec a, Vec b) { return a > b; }
inline Vec select(Mask m, Vec a, Vec b) { return m ? a : b; }
inline Vec zero_unless(Mask m, Vec a) { return m ? a : 0.0; }
inline Mask lane_is(int64_t hot) { return hot == 0; }
inline Mask mask_of_bits(const uint8_t* bits, int64_t i) { return ((bits[i >> 3] >> (i & 7)) & 1) != 0; }
inline Mask equal_int(const int32_t* p, int, int32_t value) { return *p == value; }
inline double sum(Vec a) { return a; }
inline Mask first_lanes(int count) { return count > 0; }
inline Vec exp_plain(Vec a) { return ::exp(a); }
inline Vec exp_sum(Vec a, Vec hi, Vec lo) { return ::exp(a + hi + lo); }

}  // namespace effdl::f64

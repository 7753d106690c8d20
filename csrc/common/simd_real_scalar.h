// float64 beside float32 for one lane, and the functions of activations; the same names as in the other simd_real_*.h.
#pragma once
#include "common/simd_scalar.h"

namespace effdl::scalar {

constexpr int kWideWidth = 1;
using Wide = double;

template <class Real>
struct Lanes {
  static constexpr int kCount = 1;
  using V = Real;
};

inline float splat(float a) { return a; }
inline double splat(double a) { return a; }
inline double load(const double* p) { return *p; }
inline void store(double* p, double v) { *p = v; }
inline void store_partial(double* p, double v, int) { *p = v; }
inline double add(double a, double b) { return a + b; }
inline double mul(double a, double b) { return a * b; }
inline double fmadd(double a, double b, double c) { return a * b + c; }
inline double sum(double a) { return a; }
inline void store_wide(double* p, float v) { *p = v; }
inline void store_wide(double* p, double v) { *p = v; }

inline double max_keep_nan(double a, double lo) { return a < lo ? lo : a; }
inline bool greater(double a, double b) { return a > b; }
inline double select(bool m, double a, double b) { return m ? a : b; }

inline float sigmoid(float a) { return static_cast<float>(1.0 / (1.0 + ::exp(-static_cast<double>(a)))); }
inline double sigmoid(double a) { return 1.0 / (1.0 + ::exp(-a)); }
inline float expm1_negative(float a) { return static_cast<float>(::expm1(static_cast<double>(a))); }
inline double expm1_negative(double a) { return ::expm1(a); }
inline float tanh_plain(float a) { return static_cast<float>(::tanh(static_cast<double>(a))); }
inline double tanh_plain(double a) { return ::tanh(a); }

}  // namespace effdl::scalar

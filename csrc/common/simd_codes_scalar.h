// Codes of the quantizer for the one-lane vectors of simd_scalar.h; the same names as in the other simd_codes_*.h.
#pragma once
#include "common/simd_scalar.h"

namespace effdl::scalar {

inline bool finite_bits(float v) { return (float_bits(v) & 0x7fffffffu) < 0x7f800000u; }
template <class T>
inline float first_element(const T* p) {
  return load(p);
}
// The second operand where either is NaN.
inline Vec min_vec(Vec a, Vec b) { return a < b ? a : b; }
inline Vec max_vec(Vec a, Vec b) { return a > b ? a : b; }
// The larger magnitude by its bits, so that NaN and infinity win.
inline Vec max_magnitude(Vec a, Vec b) {
  const uint32_t u = float_bits(a) & 0x7fffffffu, v = float_bits(b) & 0x7fffffffu;
  return bits_float(u > v ? u : v);
}
// min(max(v, 0), last), 0 for NaN; floor comes with the conversion to integers.
inline Vec clamp_to(Vec v, Vec last) {
  const Vec from_zero = v > 0.0f ? v : 0.0f;
  return from_zero < last ? from_zero : last;
}
template <class Code>
inline void store_codes_pair(Code* p, Vec a, Vec b) {
  p[0] = static_cast<Code>(static_cast<int32_t>(a));
  p[1] = static_cast<Code>(static_cast<int32_t>(b));
}
template <class Code>
inline Vec load_codes(const Code* p) {
  return static_cast<float>(*p);
}

}  // namespace effdl::scalar

// Software conversions of the 16-bit float formats, round to nearest even. Exact on every value (tested exhaustively).
#pragma once
#include <stdint.h>
#include <string.h>

#include "common/portable.h"

namespace effdl {

EFFDL_HOST_DEVICE static inline uint32_t float_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}
EFFDL_HOST_DEVICE static inline float bits_float(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}

EFFDL_HOST_DEVICE static inline float bfloat16_to_float(uint16_t b) {
  return bits_float(static_cast<uint32_t>(b) << 16);
}

EFFDL_HOST_DEVICE static inline uint16_t float_to_bfloat16(float f) {
  const uint32_t u = float_bits(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return static_cast<uint16_t>((u >> 16) | 0x40);  // NaN stays NaN
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

EFFDL_HOST_DEVICE static inline float half_to_float(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t magnitude = h & 0x7fff;
  if (magnitude >= 0x7c00) return bits_float(sign | 0x7f800000u | ((magnitude & 0x3ff) << 13));  // inf, NaN
  // No subnormal float takes part, so that a thread which flushes those gets the same.
  if (magnitude < 0x400) return bits_float(sign | float_bits(static_cast<float>(magnitude) * 0x1p-24f));
  return bits_float(sign | ((magnitude << 13) + (112u << 23)));
}

EFFDL_HOST_DEVICE static inline uint16_t float_to_half(float f) {
  const uint32_t u = float_bits(f);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000);
  const uint32_t a = u & 0x7fffffffu;
  if (a > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00 | ((a >> 13) & 0x3ff));  // NaN
  if (a >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00);                       // rounds to inf
  if (a < 0x38800000u) {  // subnormal: adding 0.5 puts the unit in the last place at 2^-24
    return static_cast<uint16_t>(sign | (float_bits(bits_float(a) + 0.5f) - 0x3f000000u));
  }
  return static_cast<uint16_t>(sign | ((a - 0x38000000u + 0xfffu + ((a >> 13) & 1)) >> 13));
}

}  // namespace effdl

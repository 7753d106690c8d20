// The uniform quantizer of docs/format.md: code(x) = clamp(floor((x - lo) * inv_step)), value(q) = lo + (q + 0.5) *
// step.
#pragma once
#include <cstdint>

#include "common/dtype.h"

namespace effdl {

struct Quantizer {
  double lo, step, inv_step;  // exact in float32 unless `wide`
  int bits;                   // 1 to 16
  bool wide;                  // computed in float64: float64 sources, and ranges that float32 cannot divide
};

// Whether the range of a source of this dtype can be divided into 2^bits steps. False for non-finite ranges, lo > hi,
// and float64 ranges that overflow or underflow.
bool quantizable(double lo, double hi, int bits, Dtype source);
// Only for quantizable ranges; lo == hi gives step 0 and code 0 everywhere.
Quantizer make_quantizer(double lo, double hi, int bits, Dtype source);

constexpr int64_t kQuantizeTile = 2048;  // codes that fused steps keep in the first-level cache

}  // namespace effdl

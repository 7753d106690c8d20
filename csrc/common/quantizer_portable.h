// quantizer.h for host and device. No operation here can be fused with another.
#pragma once
#include <float.h>

#include "common/portable.h"
#include "common/quantizer.h"

namespace effdl::portable {

EFFDL_HOST_DEVICE inline bool finite(double v) { return v - v == 0.0; }

EFFDL_HOST_DEVICE inline bool quantizable(double lo, double hi, int bits, Dtype source) {
  if (!finite(lo) || !finite(hi) || lo > hi) return false;
  if (lo == hi || source != Dtype::f64) return true;
  return finite(hi - lo) && (hi - lo) * (1.0 / (1 << bits)) >= DBL_MIN;
}

EFFDL_HOST_DEVICE inline Quantizer make_quantizer(double lo, double hi, int bits, Dtype source) {
  const double bins = 1 << bits;
  if (lo == hi) return {lo, 0.0, 0.0, bits, source == Dtype::f64};
  if (source != Dtype::f64) {
    const float range = static_cast<float>(hi) - static_cast<float>(lo);
    const float step = range * (1.0f / static_cast<float>(1 << bits));  // a power of two: rounded where subnormal only
    if (finite(range) && step >= FLT_MIN) return {lo, step, static_cast<float>(bins) / range, bits, false};
  }
  return {lo, (hi - lo) * (1.0 / bins), bins / (hi - lo), bits, true};
}

}  // namespace effdl::portable

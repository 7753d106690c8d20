#include "common/quantizer.h"

#include <cfloat>
#include <cmath>

namespace effdl {

bool quantizable(double lo, double hi, int bits, Dtype source) {
  if (!std::isfinite(lo) || !std::isfinite(hi) || lo > hi) return false;
  if (lo == hi || source != Dtype::f64) return true;
  return std::isfinite(hi - lo) && std::ldexp(hi - lo, -bits) >= DBL_MIN;
}

Quantizer make_quantizer(double lo, double hi, int bits, Dtype source) {
  const double bins = std::ldexp(1.0, bits);
  if (lo == hi) return {lo, 0.0, 0.0, bits, source == Dtype::f64};
  if (source != Dtype::f64) {
    const float range = static_cast<float>(hi) - static_cast<float>(lo);
    const float step = std::ldexp(range, -bits);
    if (std::isfinite(range) && step >= FLT_MIN) return {lo, step, static_cast<float>(bins) / range, bits, false};
  }
  return {lo, std::ldexp(hi - lo, -bits), bins / (hi - lo), bits, true};
}

}  // namespace effdl

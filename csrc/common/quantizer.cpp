#include "common/quantizer_portable.h"

namespace effdl {

bool quantizable(double lo, double hi, int bits, Dtype source) { return portable::quantizable(lo, hi, bits, source); }

Quantizer make_quantizer(double lo, double hi, int bits, Dtype source) {
  return portable::make_quantizer(lo, hi, bits, source);
}

}  // namespace effdl

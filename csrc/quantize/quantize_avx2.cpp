#include "common/simd_codes_avx2.h"
#include "quantize/quantize.h"
#define EFFDL_LEVEL avx2
#include "quantize/quantize_body.inl"

namespace effdl::quantize {
extern const Kernels kernels_avx2 = avx2::quantize_kernels();
}  // namespace effdl::quantize

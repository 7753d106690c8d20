#include "common/simd_codes_avx512.h"
#include "quantize/quantize.h"
#define EFFDL_LEVEL avx512
#include "quantize/quantize_body.inl"

namespace effdl::quantize {
extern const Kernels kernels_avx512 = avx512::quantize_kernels();
}  // namespace effdl::quantize

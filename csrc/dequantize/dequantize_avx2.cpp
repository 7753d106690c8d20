#include "common/simd_codes_avx2.h"
#include "dequantize/dequantize.h"
#define EFFDL_LEVEL avx2
#include "dequantize/dequantize_body.inl"

namespace effdl::dequantize {
extern const Kernels kernels_avx2 = avx2::dequantize_kernels();
}  // namespace effdl::dequantize

#include "common/simd_codes_avx512.h"
#include "dequantize/dequantize.h"
#define EFFDL_LEVEL avx512
#include "dequantize/dequantize_body.inl"

namespace effdl::dequantize {
extern const Kernels kernels_avx512 = avx512::dequantize_kernels();
}  // namespace effdl::dequantize

#include "common/simd_real_avx512.h"
#include "layer_moments/layer_moments.h"
#define EFFDL_LEVEL avx512
#include "layer_moments/layer_moments_body.inl"

namespace effdl::layer_moments {
extern const Kernels kernels_avx512 = avx512::layer_moments_kernels();
}  // namespace effdl::layer_moments

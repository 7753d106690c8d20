#include "common/simd_real_avx2.h"
#include "layer_moments/layer_moments.h"
#define EFFDL_LEVEL avx2
#include "layer_moments/layer_moments_body.inl"

namespace effdl::layer_moments {
extern const Kernels kernels_avx2 = avx2::layer_moments_kernels();
}  // namespace effdl::layer_moments

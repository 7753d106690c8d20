#include "common/simd_avx512.h"
#define EFFDL_LEVEL avx512
#include "common/ga_loss_body.inl"
#include "linear_ga_loss/linear_ga_loss.h"
#include "linear_ga_loss/linear_ga_loss_body.inl"

namespace effdl::linear_ga_loss {
using namespace effdl::avx512;
extern const ga_loss::KernelTable table_avx512 = {ga_kernels<LinearGaLoss, float, float>(),
                                                  ga_kernels<LinearGaLoss, float, half_t>(),
                                                  ga_kernels<LinearGaLoss, float, bfloat16_t>()};
}  // namespace effdl::linear_ga_loss

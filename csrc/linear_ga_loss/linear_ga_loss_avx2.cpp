#include "common/simd_avx2.h"
#define EFFDL_LEVEL avx2
#include "common/ga_loss_body.inl"
#include "linear_ga_loss/linear_ga_loss.h"
#include "linear_ga_loss/linear_ga_loss_body.inl"

namespace effdl::linear_ga_loss {
using namespace effdl::avx2;
extern const ga_loss::KernelTable table_avx2 = {ga_kernels<LinearGaLoss, float, float>(),
                                                ga_kernels<LinearGaLoss, float, half_t>(),
                                                ga_kernels<LinearGaLoss, float, bfloat16_t>()};
}  // namespace effdl::linear_ga_loss

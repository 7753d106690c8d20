#include "common/simd_avx2.h"
#define EFFDL_LEVEL avx2
#include "common/ga_loss_body.inl"
#include "pow3_ga_loss/pow3_ga_loss.h"
#include "pow3_ga_loss/pow3_ga_loss_body.inl"

namespace effdl::pow3_ga_loss {
using namespace effdl::avx2;
extern const ga_loss::KernelTable table_avx2 = {ga_kernels<Pow3GaLoss, float, float>(),
                                                ga_kernels<Pow3GaLoss, float, half_t>(),
                                                ga_kernels<Pow3GaLoss, float, bfloat16_t>()};
}  // namespace effdl::pow3_ga_loss

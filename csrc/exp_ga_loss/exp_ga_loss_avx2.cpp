#include "common/simd_avx2.h"
#define EFFDL_LEVEL avx2
#include "common/ga_loss_body.inl"
#include "exp_ga_loss/exp_ga_loss.h"
#include "exp_ga_loss/exp_ga_loss_body.inl"

namespace effdl::exp_ga_loss {
using namespace effdl::avx2;
extern const ga_loss::KernelTable table_avx2[2] = {
    {ga_kernels<ExpGaLoss<false>, float, float>(), ga_kernels<ExpGaLoss<false>, float, half_t>(),
     ga_kernels<ExpGaLoss<false>, float, bfloat16_t>()},
    {ga_kernels<ExpGaLoss<true>, float, float>(), ga_kernels<ExpGaLoss<true>, float, half_t>(),
     ga_kernels<ExpGaLoss<true>, float, bfloat16_t>()},
};
}  // namespace effdl::exp_ga_loss

#include "common/simd_avx512.h"
#define EFFDL_LEVEL avx512
#include "common/ga_loss_body.inl"
#include "exp_ga_loss/exp_ga_loss.h"
#include "exp_ga_loss/exp_ga_loss_body.inl"

namespace effdl::exp_ga_loss {
using namespace effdl::avx512;
extern const ga_loss::KernelTable table_avx512[2] = {
    {ga_kernels<ExpGaLoss<false>, float, float>(), ga_kernels<ExpGaLoss<false>, float, half_t>(),
     ga_kernels<ExpGaLoss<false>, float, bfloat16_t>()},
    {ga_kernels<ExpGaLoss<true>, float, float>(), ga_kernels<ExpGaLoss<true>, float, half_t>(),
     ga_kernels<ExpGaLoss<true>, float, bfloat16_t>()},
};
}  // namespace effdl::exp_ga_loss

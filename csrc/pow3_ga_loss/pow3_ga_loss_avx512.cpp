#include "common/simd_avx512.h"
#define EFFDL_LEVEL avx512
#include "common/ga_loss_body.inl"
#include "pow3_ga_loss/pow3_ga_loss.h"
#include "pow3_ga_loss/pow3_ga_loss_body.inl"

namespace effdl::pow3_ga_loss {
using namespace effdl::avx512;
extern const ga_loss::KernelTable table_avx512 = {ga_kernels<Pow3GaLoss, float, float>(),
                                                  ga_kernels<Pow3GaLoss, float, half_t>(),
                                                  ga_kernels<Pow3GaLoss, float, bfloat16_t>()};
}  // namespace effdl::pow3_ga_loss

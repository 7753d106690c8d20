// The scalar and float64 kernels and the run-time choice among all levels.
#include "common/simd_double.h"
#include "common/simd_scalar.h"
#include "exp_ga_loss/exp_ga_loss.h"

#define EFFDL_LEVEL scalar
#include "common/ga_loss_body.inl"
#include "exp_ga_loss/exp_ga_loss_body.inl"
#undef EFFDL_LEVEL
#define EFFDL_LEVEL f64
#include "common/ga_loss_body.inl"
#include "exp_ga_loss/exp_ga_loss_body.inl"

namespace effdl {

namespace exp_ga_loss {
using namespace effdl::scalar;
extern const ga_loss::KernelTable table_scalar[2] = {
    {ga_kernels<ExpGaLoss<false>, float, float>(), ga_kernels<ExpGaLoss<false>, float, half_t>(),
     ga_kernels<ExpGaLoss<false>, float, bfloat16_t>()},
    {ga_kernels<ExpGaLoss<true>, float, float>(), ga_kernels<ExpGaLoss<true>, float, half_t>(),
     ga_kernels<ExpGaLoss<true>, float, bfloat16_t>()},
};
}  // namespace exp_ga_loss

namespace {
const ga_loss::Loss plain = {"exp_ga_loss",
                             true,
                             {&exp_ga_loss::table_scalar[0], EFFDL_IF_X86(&exp_ga_loss::table_avx2[0]),
                              EFFDL_IF_X86(&exp_ga_loss::table_avx512[0])},
                             f64::ga_kernels<f64::ExpGaLoss<false>, double, double>()};
const ga_loss::Loss clamped = {"exp_ga_loss",
                               true,
                               {&exp_ga_loss::table_scalar[1], EFFDL_IF_X86(&exp_ga_loss::table_avx2[1]),
                                EFFDL_IF_X86(&exp_ga_loss::table_avx512[1])},
                               f64::ga_kernels<f64::ExpGaLoss<true>, double, double>()};
}  // namespace

ga_loss::Outcome exp_ga_loss_cpu(const ga_loss::Problem& problem) {
  return ga_loss::run_cpu(problem.has_clamp ? clamped : plain, problem);
}

}  // namespace effdl

// The scalar and float64 kernels and the run-time choice among all levels.
#include "common/simd_double.h"
#include "common/simd_scalar.h"
#include "pow3_ga_loss/pow3_ga_loss.h"

#define EFFDL_LEVEL scalar
#include "common/ga_loss_body.inl"
#include "pow3_ga_loss/pow3_ga_loss_body.inl"
#undef EFFDL_LEVEL
#define EFFDL_LEVEL f64
#include "common/ga_loss_body.inl"
#include "pow3_ga_loss/pow3_ga_loss_body.inl"

namespace effdl {

namespace pow3_ga_loss {
using namespace effdl::scalar;
extern const ga_loss::KernelTable table_scalar = {ga_kernels<Pow3GaLoss, float, float>(),
                                                  ga_kernels<Pow3GaLoss, float, half_t>(),
                                                  ga_kernels<Pow3GaLoss, float, bfloat16_t>()};
}  // namespace pow3_ga_loss

namespace {
const ga_loss::Loss loss = {
    "pow3_ga_loss",
    false,
    {&pow3_ga_loss::table_scalar, EFFDL_IF_X86(&pow3_ga_loss::table_avx2), EFFDL_IF_X86(&pow3_ga_loss::table_avx512)},
    f64::ga_kernels<f64::Pow3GaLoss, double, double>()};
}  // namespace

ga_loss::Outcome pow3_ga_loss_cpu(const ga_loss::Problem& problem) { return ga_loss::run_cpu(loss, problem); }

}  // namespace effdl

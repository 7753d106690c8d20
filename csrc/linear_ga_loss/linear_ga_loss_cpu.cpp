// The scalar and float64 kernels and the run-time choice among all levels.
#include "common/simd_double.h"
#include "common/simd_scalar.h"
#include "linear_ga_loss/linear_ga_loss.h"

#define EFFDL_LEVEL scalar
#include "common/ga_loss_body.inl"
#include "linear_ga_loss/linear_ga_loss_body.inl"
#undef EFFDL_LEVEL
#define EFFDL_LEVEL f64
#include "common/ga_loss_body.inl"
#include "linear_ga_loss/linear_ga_loss_body.inl"

namespace effdl {

namespace linear_ga_loss {
using namespace effdl::scalar;
extern const ga_loss::KernelTable table_scalar = {ga_kernels<LinearGaLoss, float, float>(),
                                                  ga_kernels<LinearGaLoss, float, half_t>(),
                                                  ga_kernels<LinearGaLoss, float, bfloat16_t>()};
}  // namespace linear_ga_loss

namespace {
const ga_loss::Loss loss = {"linear_ga_loss",
                            false,
                            {&linear_ga_loss::table_scalar, EFFDL_IF_X86(&linear_ga_loss::table_avx2),
                             EFFDL_IF_X86(&linear_ga_loss::table_avx512)},
                            f64::ga_kernels<f64::LinearGaLoss, double, double>()};
}  // namespace

ga_loss::Outcome linear_ga_loss_cpu(const ga_loss::Problem& problem) { return ga_loss::run_cpu(loss, problem); }

}  // namespace effdl

// Cubic gradient amplification (thesis sec. 4.7-4.8): l(x, t) = alpha x^4 / 4 + beta x - t x, gradient alpha x^3 + beta
// - t. Problem, outputs and errors: common/ga_loss.h. Problems are valid by the time they come here
// (pow3_ga_loss_bind.cpp checks).
#pragma once
#include "common/ga_loss_cpu.h"

namespace effdl {

ga_loss::Outcome pow3_ga_loss_cpu(const ga_loss::Problem& problem);
// Asynchronous on `stream` of `device`; throws std::runtime_error if a launch fails.
void pow3_ga_loss_cuda(const ga_loss::Problem& problem, int device, void* stream);

namespace pow3_ga_loss {
// One table per SIMD level.
extern const ga_loss::KernelTable table_scalar, table_avx2, table_avx512;
}  // namespace pow3_ga_loss

}  // namespace effdl

// Exponential gradient amplification (thesis sec. 4.5-4.6): l(x, t) = alpha e^x - t (ln alpha + x), gradient alpha e^x
// - t. Problem, outputs and errors: common/ga_loss.h. Problems are valid by the time they come here
// (exp_ga_loss_bind.cpp checks).
#pragma once
#include "common/ga_loss_cpu.h"

namespace effdl {

ga_loss::Outcome exp_ga_loss_cpu(const ga_loss::Problem& problem);
// Asynchronous on `stream` of `device`; throws std::runtime_error if a launch fails.
void exp_ga_loss_cuda(const ga_loss::Problem& problem, int device, void* stream);

namespace exp_ga_loss {
// Without and with clamp.
extern const ga_loss::KernelTable table_scalar[2], table_avx2[2], table_avx512[2];
}  // namespace exp_ga_loss

}  // namespace effdl

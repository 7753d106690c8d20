// Linear outputs with the squared error (thesis sec. 4.3): l(x, t) = (x - t)^2 / 2, gradient x - t.
// Problem, outputs and errors: common/ga_loss.h. Problems are valid by the time they come here (linear_ga_loss_bind.cpp
// checks).
#pragma once
#include "common/ga_loss_cpu.h"

namespace effdl {

ga_loss::Outcome linear_ga_loss_cpu(const ga_loss::Problem& problem);
// Asynchronous on `stream` of `device`; throws std::runtime_error if a launch fails.
void linear_ga_loss_cuda(const ga_loss::Problem& problem, int device, void* stream);

namespace linear_ga_loss {
// One table per SIMD level.
extern const ga_loss::KernelTable table_scalar, table_avx2, table_avx512;
}  // namespace linear_ga_loss

}  // namespace effdl

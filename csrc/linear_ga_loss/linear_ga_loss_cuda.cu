#include "common/ga_loss_cuda.cuh"
#include "linear_ga_loss/linear_ga_loss.h"

namespace effdl {
namespace {

struct LinearGaLoss {
  static constexpr bool kLogAlpha = false;

  template <class Real>
  static __device__ Real eval(Real x, Real t, const ga_loss::Terms<Real>&, const ga_loss::Constants<Real>&,
                              Real* delta) {
    *delta = x - t;
    return Real(0.5) * (*delta * *delta);
  }
};

}  // namespace

void linear_ga_loss_cuda(const ga_loss::Problem& problem, int device, void* stream) {
  ga_loss::run_cuda<LinearGaLoss>("linear_ga_loss", problem, device, stream);
}

}  // namespace effdl

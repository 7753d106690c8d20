#include "common/ga_loss_cuda.cuh"
#include "pow3_ga_loss/pow3_ga_loss.h"

namespace effdl {
namespace {

struct Pow3GaLoss {
  static constexpr bool kLogAlpha = false;

  template <class Real>
  static __device__ Real eval(Real x, Real t, const ga_loss::Terms<Real>& alpha, const ga_loss::Constants<Real>& k,
                              Real* delta) {
    const Real cubic = alpha.hi * (x * (x * x));
    const Real rest = k.beta - t;
    *delta = cubic + rest;
    return x * fma(cubic, Real(0.25), rest);
  }
};

}  // namespace

void pow3_ga_loss_cuda(const ga_loss::Problem& problem, int device, void* stream) {
  ga_loss::run_cuda<Pow3GaLoss>("pow3_ga_loss", problem, device, stream);
}

}  // namespace effdl

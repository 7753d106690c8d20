#include "common/ga_loss_cuda.cuh"
#include "exp_ga_loss/exp_ga_loss.h"

namespace effdl {
namespace {

constexpr float kLargestFloat = 3.402823466e38f;

// exp(x + hi + lo) and z, their sum. x + hi is rounded once and the rounding error multiplied back in, so a large logit
// does not amplify it.
__device__ inline float exp_sum(float x, const ga_loss::Terms<float>& alpha, float* z) {
  const float s = x + alpha.hi;
  const float virtual_hi = s - x;
  const float error = (x - (s - virtual_hi)) + (alpha.hi - virtual_hi);
  // Below -105 the result is 0; infinities have no rounding error.
  const float tail = fabsf(s) < 105.0f ? error + alpha.lo : 0.0f;
  *z = s + alpha.lo;
  const float y = expf(s);
  return fmaf(fminf(y, kLargestFloat), tail, y);  // infinity stays, where infinity * tail could be NaN
}
__device__ inline double exp_sum(double x, const ga_loss::Terms<double>& alpha, double* z) {
  *z = x + alpha.hi;
  return exp(*z);
}

struct ExpGaLoss {
  static constexpr bool kLogAlpha = true;

  // clamp is infinite where there is none.
  template <class Real>
  static __device__ Real eval(Real x, Real t, const ga_loss::Terms<Real>& alpha, const ga_loss::Constants<Real>& k,
                              Real* delta) {
    Real z;
    Real activation = exp_sum(x, alpha, &z);
    Real penalty = activation;
    if (z > k.clamp) {  // beyond the clamp the exponential goes on as its tangent
      activation = k.exp_clamp;
      penalty = fma(k.exp_clamp, z - k.clamp, k.exp_clamp);
    }
    *delta = activation - t;
    // A class with target 0 owes nothing for its log, even at z = -inf.
    return t == Real(0) ? penalty : fma(-t, z, penalty);
  }

  // alpha = 1 and no clamp.
  template <class Real>
  static __device__ Real plain(Real x, Real t, Real* delta) {
    const Real y = exp(x);
    *delta = y - t;
    return t == Real(0) ? y : fma(-t, x, y);
  }
};

}  // namespace

void exp_ga_loss_cuda(const ga_loss::Problem& problem, int device, void* stream) {
  ga_loss::run_cuda<ExpGaLoss>("exp_ga_loss", problem, device, stream);
}

}  // namespace effdl

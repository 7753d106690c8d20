// Ridge regression of narrow layers from their moments (thesis chapter 7).
#pragma once
#include <cmath>
#include <cstdint>

#include "common/portable.h"
#include "common/simd.h"

namespace effdl {
namespace ridge_solve {

constexpr int kMostColumns = 65;
constexpr int kMostTargets = 64;
constexpr double kPivot = 16 * 0x1p-52;  // times n: a pivot of a matrix with unit diagonal up to this is rounding

// A sum of products with about twice the digits of a double: products and sums leave their rounding errors in `low`.
struct Compensated {
  double high, low;

  EFFDL_HOST_DEVICE void subtract_product(double a, double b) {
#ifdef __CUDA_ARCH__  // nvcc would contract a product and a difference to one rounding; these it leaves alone
    const double product = __dmul_rn(a, b), sum = __dsub_rn(high, product), taken = __dsub_rn(sum, high);
    const double lost = __dsub_rn(__dsub_rn(high, __dsub_rn(sum, taken)), __dadd_rn(product, taken));
    low = __dadd_rn(low, __dsub_rn(lost, __fma_rn(a, b, -product)));
#else
    const double product = a * b, sum = high - product, taken = sum - high;
    low += ((high - (sum - taken)) - (product + taken)) - std::fma(a, b, -product);
#endif
    high = sum;
  }
  EFFDL_HOST_DEVICE double value() const { return high + low; }
};

// Matrices are contiguous, one after another; nothing overlaps. n = columns, c = targets.
struct Problem {
  const double* moments;     // (batch, n + c, n + c): [[G, C], [C', Y'Y]]
  const double* projection;  // (tries, n + c, width), for a batch of one; may be null
  int64_t batch, tries, width;
  int columns, targets;
  double l2;       // on the diagonal of G
  bool free_bias;  // but not on its first element
  double alpha, beta;
  double* solution;  // (batch, n, c)
  double* residual;  // (batch)
  double* rcond;     // (batch)
  double* weights;   // (tries, n, width); null without a projection
};

}  // namespace ridge_solve

// On torch's threads. Throws std::bad_alloc.
void ridge_solve_cpu(const ridge_solve::Problem& problem);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. workspace, with a projection: n * (n + c) doubles.
void ridge_solve_cuda(const ridge_solve::Problem& problem, void* workspace, int device, void* stream);
#endif

}  // namespace effdl

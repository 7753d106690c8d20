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
    const double product = a * b, sum = high - product, taken = sum - high;
    low += ((high - (sum - taken)) - (product + taken)) - std::fma(a, b, -product);
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

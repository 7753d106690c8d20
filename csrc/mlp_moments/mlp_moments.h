// Second moments of a deep representation that is never held (thesis chapter 7).
#pragma once
#include <vector>

#include "common/dense_layers.h"

namespace effdl {

// moments (n, n), contiguous and all 0, = the sum over rows of r' r, r = [1, z, y], n = 1 + w + c, z being what
// mlp_forward makes of x (x itself without weights). y (m, c) is rounded to z's dtype. precise: products in double
// although z is in float. Any strides of the inputs. On torch's threads; the bits do not depend on their number. Throws
// std::bad_alloc.
void mlp_moments_cpu(const dense::Matrix& x, const std::vector<dense::Matrix>& weights, const dense::Matrix& y,
                     dense::Activation activation, bool precise, double* moments);

}  // namespace effdl

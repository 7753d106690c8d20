// The layers of a fitted network, some rows at a time (thesis chapter 7).
#pragma once
#include <vector>

#include "common/dense_layers.h"

namespace effdl {

// out (m, w) = z of rows x (m, d) after all `weights`, of which there is one at least: (w_{i-1} + 1, w_i), row 0 the
// bias. float64 x computes in double and has float64 weights and out, any other in float with float32 ones. Any
// strides; nothing overlaps out. On torch's threads; the bits do not depend on their number. Throws std::bad_alloc.
void mlp_forward_cpu(const dense::Matrix& x, const std::vector<dense::Matrix>& weights, dense::Activation activation,
                     const dense::Matrix& out);

}  // namespace effdl

#include <algorithm>

#include "common/exact_floats.h"
#include "common/parallel.h"
#include "mlp_forward/mlp_forward.h"

namespace effdl {
namespace {

using dense::Matrix;

// Rows of a block: enough to use weights often, few enough to keep their inputs near and all threads busy.
int64_t rows_of(int64_t rows) { return rows >= 4096 ? 64 : rows >= 256 ? 32 : dense::kRows; }

template <class T>
void run(const Matrix& x, const std::vector<Matrix>& weights, dense::Activation activation, const Matrix& out) {
  const dense::Layers<T> layers(weights, x.cols, activation, 0);
  const int64_t rows = rows_of(x.rows);
  const auto body = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    auto room = layers.room(rows);
    const auto last = layers.room(rows).out;
    for (int64_t b = begin; b < end; ++b) {
      layers.run(x, b * rows, std::min(rows, x.rows - b * rows), room, last.get(), room.panel_stride(), &out);
    }
  };
  parallel_for(0, (x.rows + rows - 1) / rows, 1, body);
}

}  // namespace

void mlp_forward_cpu(const Matrix& x, const std::vector<Matrix>& weights, dense::Activation activation,
                     const Matrix& out) {
  record_kernel("mlp_forward", simd_name(simd_level()));
  if (x.dtype == Dtype::f64) return run<double>(x, weights, activation, out);
  run<float>(x, weights, activation, out);
}

}  // namespace effdl

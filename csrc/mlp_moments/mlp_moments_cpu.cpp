#include <algorithm>
#include <type_traits>

#include "common/exact_floats.h"
#include "common/large_output.h"
#include "common/parallel.h"
#include "mlp_moments/mlp_moments.h"

namespace effdl {
namespace {

using dense::kPanel;
using dense::kRows;
using dense::kSumRows;
using dense::Matrix;

constexpr int64_t kChunk = 64;                       // rows that a thread takes through the layers at a time
constexpr int64_t kBlockNumbers = int64_t{1} << 20;  // of r in a block
constexpr int64_t kGroup = 4;                        // panels that stay near while others pass

// Rows whose r is held at once: whole kSumRows, so that sums do not depend on it.
int64_t block_rows(int64_t rows, int64_t cols) {
  const int64_t parts = std::clamp<int64_t>(kBlockNumbers / (256 * cols), 4, 16);
  return std::min(parts * 256, (rows + kRows - 1) / kRows * kRows);
}

struct Pair {
  int32_t left, right;  // panels, left <= right
};

std::vector<Pair> pairs_of(int64_t panels) {
  std::vector<Pair> pairs;
  for (int64_t group = 0; group < panels; group += kGroup) {
    for (int64_t right = group; right < panels; ++right) {
      for (int64_t left = group; left <= std::min(right, group + kGroup - 1); ++left) {
        pairs.push_back({static_cast<int32_t>(left), static_cast<int32_t>(right)});
      }
    }
  }
  return pairs;
}

// The rows of r in a block, in panels: T is what layers are computed in, R what products are summed in.
template <class T, class R>
class Rows {
 public:
  Rows(const Matrix& x, const std::vector<Matrix>& weights, const Matrix& y, dense::Activation activation)
      : x_(x), y_(y), width_(weights.empty() ? x.cols : weights.back().cols), layers_(weights, x.cols, activation, 1) {
    size = 1 + width_ + y.cols;
    most = block_rows(x.rows, size);
    panel_stride = most * kPanel;
    const int64_t count = dense::panels_of(size) * panel_stride;
    data = dense::buffer<R>(count);
    expect_output(data.get(), count * static_cast<int64_t>(sizeof(R)));
    std::fill(data.get(), data.get() + count, R(0));
  }

  void make(int64_t first, int64_t count) {
    const auto body = [&](int64_t begin, int64_t end) {
      const ExactFloats exact;
      auto room = layers_.room(kChunk);
      dense::Buffer<T> narrow;
      if (!std::is_same_v<T, R>) narrow = layers_.room(kChunk).out;
      for (int64_t c = begin; c < end; ++c) {
        const int64_t row = c * kChunk;
        chunk(first + row, std::min(kChunk, count - row), room, narrow.get(), data.get() + row * kPanel);
      }
    };
    parallel_for(0, (count + kChunk - 1) / kChunk, 1, body);
  }

  dense::Buffer<R> data;
  int64_t size, most, panel_stride;

 private:
  void chunk(int64_t first, int64_t count, typename dense::Layers<T>::Room& room, T* narrow, R* to) const {
    if (layers_.empty()) {
      dense::rows_to_panels(x_, first, count, 1, to, panel_stride);
    } else if constexpr (std::is_same_v<T, R>) {
      layers_.run(x_, first, count, room, to, panel_stride, nullptr);
    } else {
      layers_.run(x_, first, count, room, narrow, room.panel_stride(), nullptr);
      for (int64_t p = 0; p < dense::panels_of(1 + width_); ++p) {
        std::copy_n(narrow + p * room.panel_stride(), count * kPanel, to + p * panel_stride);
      }
    }
    for (int64_t r = 0; r < count; ++r) to[r * kPanel] = R(1);
    if (y_.cols > 0) targets(first, count, to);
  }

  void targets(int64_t first, int64_t count, R* to) const {
    dense::rows_to_panels(y_, first, count, 1 + width_, to, panel_stride);
    if constexpr (!std::is_same_v<T, R>) {  // as precise as z, whatever y is
      for (int64_t c = 1 + width_; c < size; ++c) {
        R* column = to + c / kPanel * panel_stride + c % kPanel;
        for (int64_t r = 0; r < count; ++r) column[r * kPanel] = static_cast<T>(column[r * kPanel]);
      }
    }
  }

  const Matrix &x_, &y_;
  int64_t width_;
  dense::Layers<T> layers_;
};

// Adds the products of a pair of panels, kSumRows rows after kSumRows rows.
template <class R>
void add_pair(const Pair& pair, const R* data, int64_t panel_stride, int64_t count, int64_t size, double* moments) {
  const auto& kernel = dense::kernels<R>();
  const int64_t left = pair.left * kPanel, right = pair.right * kPanel;
  for (int64_t row = 0; row < count; row += kSumRows) {
    dense::MomentTile<R> tile;
    tile.depth = std::min<int64_t>(kSumRows, count - row);
    tile.right = data + pair.right * panel_stride + row * kPanel;
    tile.end = static_cast<int>(std::min<int64_t>(kPanel, size - right));
    tile.stride = size;
    for (int col = 0; col < kPanel && left + col < size; col += kRows) {
      tile.left = data + pair.left * panel_stride + row * kPanel + col;
      tile.rows = static_cast<int>(std::min<int64_t>(kRows, size - left - col));
      tile.begin = pair.left == pair.right ? col : 0;
      tile.sums = moments + (left + col) * size + right;
      kernel.moments(tile);
    }
  }
}

void mirror(double* moments, int64_t size) {
  constexpr int64_t kSide = 64;
  const auto body = [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b) {
      for (int64_t first = 0; first <= b * kSide; first += kSide) {
        for (int64_t row = b * kSide; row < std::min(size, (b + 1) * kSide); ++row) {
          for (int64_t col = first; col < std::min(row, first + kSide); ++col) {
            moments[row * size + col] = moments[col * size + row];
          }
        }
      }
    }
  };
  parallel_for(0, (size + kSide - 1) / kSide, 1, body);
}

template <class T, class R>
void run(const Matrix& x, const std::vector<Matrix>& weights, const Matrix& y, dense::Activation activation,
         double* moments) {
  Rows<T, R> rows(x, weights, y, activation);
  const std::vector<Pair> pairs = pairs_of(dense::panels_of(rows.size));
  for (int64_t first = 0; first < x.rows; first += rows.most) {
    const int64_t count = std::min(rows.most, x.rows - first);
    rows.make(first, count);
    const auto body = [&](int64_t begin, int64_t end) {
      const ExactFloats exact;
      for (int64_t i = begin; i < end; ++i) {
        add_pair(pairs[static_cast<size_t>(i)], rows.data.get(), rows.panel_stride, count, rows.size, moments);
      }
    };
    parallel_for(0, static_cast<int64_t>(pairs.size()), 1, body);
  }
  mirror(moments, rows.size);
}

}  // namespace

void mlp_moments_cpu(const Matrix& x, const std::vector<Matrix>& weights, const Matrix& y, dense::Activation activation,
                     bool precise, double* moments) {
  record_kernel("mlp_moments", simd_name(simd_level()));
  if (x.rows == 0) return;
  if (x.dtype == Dtype::f64) return run<double, double>(x, weights, y, activation, moments);
  if (precise) return run<float, double>(x, weights, y, activation, moments);
  run<float, float>(x, weights, y, activation, moments);
}

}  // namespace effdl

// Layers z -> activation([1 z] W) of any width, some rows at a time: what mlp_forward and mlp_moments share on the CPU.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "common/dense_tile.h"

namespace effdl::dense {

// A borrowed matrix of any strides, in elements.
struct Matrix {
  void* data = nullptr;
  Dtype dtype{};  // floating
  int64_t rows = 0, cols = 0, row_stride = 0, col_stride = 0;
};

inline int64_t panels_of(int64_t cols) { return (cols + kPanel - 1) / kPanel; }

struct Free {
  void operator()(void* p) const { std::free(p); }
};
template <class T>
using Buffer = std::unique_ptr<T[], Free>;

// Aligned to a cache line, not initialised. Throws std::bad_alloc.
template <class T>
Buffer<T> buffer(int64_t count) {
  const size_t bytes = (static_cast<size_t>(count) * sizeof(T) + 127) / 64 * 64;
  Buffer<T> b(static_cast<T*>(std::aligned_alloc(64, bytes)));
  if (!b) throw std::bad_alloc();
  return b;
}

// Rows begin to begin + count of m into columns from first_col on of panels of `to`, panel_stride apart.
template <class T>
void rows_to_panels(const Matrix& m, int64_t begin, int64_t count, int64_t first_col, T* to, int64_t panel_stride);

// Weights in panels. T: what is computed in.
template <class T>
class Layers {
 public:
  // weights: (inputs + 1, outputs) each, row 0 the bias, of dtype T. The last layer's output begins at column
  // first_col, after columns of which nothing is said.
  Layers(const std::vector<Matrix>& weights, int64_t inputs, Activation activation, int64_t first_col);

  bool empty() const { return layers_.empty(); }

  // Blocks of rows of one thread on their way through the layers.
  struct Room {
    Buffer<T> in, out;
    int64_t rows;  // most at a time, a multiple of kRows
    int64_t panel_stride() const { return rows * kPanel; }
  };
  Room room(int64_t rows) const;  // for inputs and all outputs

  // The output of rows begin to begin + count of x, in panels of `to` that are panel_stride apart and have room for a
  // multiple of kRows rows. Not for no layers at all. With `result` (the whole output, of dtype T), it goes there too.
  void run(const Matrix& x, int64_t begin, int64_t count, Room& room, T* to, int64_t panel_stride,
           const Matrix* result) const;

 private:
  struct Layer {
    int64_t inputs, outputs;  // the latter with first_col
    Buffer<T> weights;        // [panel][input][kPanel]
    Buffer<T> bias;           // [panel][kPanel]
  };
  std::vector<Layer> layers_;
  Activation activation_;
  int64_t widest_, first_col_;
};

}  // namespace effdl::dense

// Second moments of a narrow layer's output, for many weights in one pass (thesis chapter 7).
// With r = [1, activation([1 z] W), y] of a row: the sums over the rows of r' r.
#pragma once
#include <cstdint>

#include "common/dtype.h"
#include "common/simd.h"

namespace effdl {
namespace layer_moments {

constexpr int kMostWidth = 64;  // of z, of the layer and of y

enum class Activation : int { identity = 0, relu, celu, tanh, sigmoid, leaky_relu };
constexpr int kActivations = 6;

// Strides in elements; nothing overlaps. float64 z computes in double, any other in float.
struct Problem {
  const void* z;  // (rows, inputs)
  Dtype z_dtype;  // floating
  int64_t rows, z_row_stride, z_col_stride;
  int inputs;
  const void* weights;  // (tries, inputs + 1, width) contiguous, in the dtype that is computed in; null: r = [1, z, y]
  int64_t tries;        // 1 without weights
  int width;            // inputs without weights
  const void* y;        // (rows, targets)
  Dtype y_dtype;        // floating
  int64_t y_row_stride, y_col_stride;
  int targets;
  Activation activation;
  double* moments;  // (tries, n, n) contiguous, n = 1 + width + targets
  void* output;     // null, or for one try (width, rows) contiguous in z's dtype: the layer's output by columns
};

// ---- the CPU kernels of a SIMD level ----

constexpr int kRows = 128;           // of a block
constexpr int kStride = kRows + 16;  // of its columns, so that they do not all fall on the same cache sets
constexpr int kSlice = 8;            // tries that share what was made of a block

// Some rows and some tries of a problem.
struct Task {
  const Problem* problem;
  int64_t row_begin, row_end, try_begin, try_end;
  double* scratch;    // scratch_doubles() of 64-byte aligned memory
  double* sums;       // where the first of the tries' sums go: sum_count() each
  double* base_sums;  // base_count() of them: those of [1, y]; may be null
};

// The sums of a try: each column of the layer with itself and those after it, then with [1, y].
constexpr int64_t sum_count(int width, int targets) {
  return static_cast<int64_t>(width) * (width + 1) / 2 + static_cast<int64_t>(width) * (1 + targets);
}
constexpr int64_t base_count(int targets) { return static_cast<int64_t>(1 + targets) * (2 + targets) / 2; }
constexpr int64_t kMostLanes = 8;
constexpr int64_t scratch_doubles(int inputs, int width, int targets) {
  return kStride * static_cast<int64_t>(1 + targets + 2 * width + 2 * inputs) +
         kMostLanes * (kSlice * sum_count(width, targets) + base_count(targets));
}

// One per SIMD level, by z's dtype: float32, float64, float16, bfloat16.
struct Kernels {
  void (*run[4])(const Task& task);
};
extern const Kernels kernels_scalar, kernels_avx2, kernels_avx512;

}  // namespace layer_moments

// On torch's threads; the bits do not depend on their number. Throws std::bad_alloc.
void layer_moments_cpu(const layer_moments::Problem& problem);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. workspace: layer_moments_workspace_bytes().
void layer_moments_cuda(const layer_moments::Problem& problem, void* workspace, int device, void* stream);
int64_t layer_moments_workspace_bytes(int64_t rows, int64_t tries, int width, int targets);
#endif

}  // namespace effdl

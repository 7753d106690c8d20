// Tiles of the matrix products of wide layers: of a layer, and of the products of its output with itself.
//
// Numbers lie in panels of kPanel columns, a panel by rows: (r, c) of a block is at
// [c / kPanel][r][c % kPanel]. What a tile reads is then contiguous, whichever of the two products it is for.
#pragma once
#include <stdint.h>

#include "common/dtype.h"
#include "common/simd.h"

namespace effdl::dense {

constexpr int kRows = 8, kPanel = 48;
constexpr int kSumRows = 128;  // most rows whose products a tile sums before they are added in double

enum class Activation : int { identity = 0, relu, celu, tanh, sigmoid, leaky_relu };
constexpr int kActivations = 6;

// kRows rows of the input times some rows of a panel of the weights.
template <class T>
struct LayerTile {
  const T* input;        // its first row in the first panel
  int64_t panel_stride;  // from one panel of the input to the next
  const T* weights;      // [depth][kPanel]
  int64_t depth;
  const T* bias;  // of the panel; null: add to the output
  T* output;      // [kRows][kPanel]
  int cols;       // how many are wanted; those up to kPanel may be written
};

// kRows columns of a panel times columns begin to end of another, summed over their rows.
template <class T>
struct MomentTile {
  const T* left;         // the first of the columns, in the first row
  const T* right;        // column 0 in the first row
  int64_t depth;         // rows, kSumRows at most
  int rows, begin, end;  // which of the products count; begin is a multiple of kRows
  double* sums;          // of column 0, added to
  int64_t stride;        // from one row of sums to the next
};

template <class T>
struct Kernels {
  void (*layer)(const LayerTile<T>& tile);
  void (*moments)(const MomentTile<T>& tile);
  void (*activate)(Activation activation, T* z, int64_t count);  // count is a multiple of 16
};

struct Level {
  Kernels<float> float32;
  Kernels<double> float64;
  void (*widen)(const void* from, Dtype dtype, int64_t count, float* to);  // float16 or bfloat16
};

extern const Level level_scalar, level_avx2, level_avx512;
const Level& level();

template <class T>
const Kernels<T>& kernels();
template <>
inline const Kernels<float>& kernels<float>() {
  return level().float32;
}
template <>
inline const Kernels<double>& kernels<double>() {
  return level().float64;
}

}  // namespace effdl::dense

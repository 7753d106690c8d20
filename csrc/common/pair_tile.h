// A tile of all pairs of two sets of points: bounds of their distances, and float64 distances of single pairs.
//
// A tile has kRows x kPanel values v(r, c) = row_base[r] + col_base[c] + <a_r, b_c>, where the bases make -v a lower
// bound of the distance (points.h has the bound). Points lie in words of 32 bits, each of one float or two bfloat16:
// a[word][kRows], b[word][kPanel].
#pragma once
#include <stdint.h>

#include "common/dtype.h"
#include "common/simd.h"

namespace effdl::pair_tile {

constexpr int kRows = 8, kPanel = 48;
constexpr int kValues = kRows * kPanel;
using Word = uint32_t;

struct Tile {
  const Word* a;
  const Word* b;
  int64_t depth;  // words
  const float* row_base;
  const float* col_base;
  float* values;  // kRows x kPanel
  bool resume;    // go on from values instead of the bases
};

// Of the rows or the columns of a tile. A pair may be nearer than a point's limit where v > limit, and surely is where
// v - slack of the other > near.
struct Limits {
  const float* limit;
  const float* near;
  const float* slack;
};

struct Kernels {
  void (*accumulate)(const Tile& tile);
  // hits[r] bit c: v > row_limit[r] or v > col_limit[c]. Writes hits and values only if there is any, and returns that.
  bool (*find)(const Tile& tile, const float* row_limit, const float* col_limit, uint64_t* hits);
  // Of the pairs with a bit in valid[r]: adds those surely nearer to the counts, and marks those that may be, by row
  // and by column. Returns whether there are any of the latter.
  bool (*count)(const float* values, const Limits& rows, const Limits& cols, const uint64_t* valid, int32_t* row_counts,
                int32_t* col_counts, uint64_t* row_doubts, uint64_t* col_doubts);
};

// Sums over 16 lanes of float64 in one order on every level. The scale is a power of two and used for float64 only.
struct Exact {
  double (*square_distance)(const void* a, const void* b, int64_t dims, double scale);
  double (*product)(const void* a, const void* b, int64_t dims, double scale);
};

struct Level {
  Kernels float32;
  Exact exact[5];  // by exact_index
};
constexpr int exact_index(Dtype d) {
  return d == Dtype::f32 ? 0 : d == Dtype::f64 ? 1 : d == Dtype::f16 ? 2 : d == Dtype::bf16 ? 3 : 4;
}

extern const Level level_scalar, level_avx2, level_avx512;
const Level& level();

// Products of bfloat16, where simd_level() and this CPU have them; null otherwise.
const Kernels* bf16_kernels();
extern const Kernels bf16_avx512;

}  // namespace effdl::pair_tile

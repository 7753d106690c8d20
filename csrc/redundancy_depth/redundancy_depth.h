// How many samples of its class are strictly nearer to a sample than the nearest one of any other class (thesis 5.4).
#pragma once
#include <cstdint>

#include "common/points_cuda.h"

namespace effdl {

struct RedundancyOptions {
  Metric metric = Metric::l2;
  Arithmetic arithmetic = Arithmetic::automatic;
  int64_t max_workspace = 0;  // bytes
  int64_t k = 0;              // above 0: depth[i] need only be right about depth[i] >= k
};

struct RedundancyRun {
  int64_t bad_row = -1;  // the first with NaN or infinity; if there is one, depth is undefined
  Arithmetic arithmetic = Arithmetic::float32;
  bool settled = false;  // most samples of one k by some of their enemies
};

// features.n < 2^31 rows; labels, depth: n. Throws std::bad_alloc.
RedundancyRun redundancy_depth_cpu(const Points& features, const int64_t* labels, const RedundancyOptions& options,
                                   int32_t* depth);

// CUDA: Python sorts the samples by label, multiplies tiles of their words (points_cuda.h), and has each looked at in
// two passes over the tiles of the upper triangle. A position is a place in the sorted order.
struct RedundancyTile {
  CudaFrame frame;
  int64_t dims, rows, cols, first_row, first_col;  // the positions of the tile begin at first_row <= first_col
  const float* products;                           // (rows, cols)
  const float *row_base, *row_slack, *col_base, *col_slack;
  const int64_t* order;      // of all positions: the sample
  const int64_t* class_end;  // where its class ends
  int32_t* limit;            // floats as ordered integers, from those of -infinity on: what is left to find in pass 1
  long long* enemy;          // doubles as ordered integers, from those of infinity on: distance of the nearest enemy
  int32_t* depth;            // by sample, from 0 on
};

#ifdef EFFDL_WITH_CUDA
// counting: pass 2, after pass 1 has seen all tiles. Asynchronous on `stream`; device memory throughout.
void redundancy_depth_cuda(const Points& features, const RedundancyTile& tile, bool counting, int device, void* stream);
#endif

}  // namespace effdl

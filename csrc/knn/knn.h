// The k nearest keys of each query, by the float64 distances of points.h; at equal distance the lowest index.
#pragma once
#include <cstdint>

#include "common/points_cuda.h"

namespace effdl {

struct KnnOptions {
  Metric metric = Metric::l2;
  Arithmetic arithmetic = Arithmetic::automatic;
  int64_t max_workspace = 0;  // bytes
  int64_t k = 0;              // at most keys.n, or keys.n - 1 with exclude_self
  bool exclude_self = false;  // query i is not compared with key i
};

// What knn_cpu found wrong: the first rows with NaN or infinity, or -1.
struct BadRows {
  int64_t query = -1, key = -1;
};

// Both of one dtype and dims, below 2^31 rows. distances: (queries.n, k), float64 if the points are, else float32, the
// value that ops.knn documents; indices: (queries.n, k). Undefined if there is a bad row. Returns the arithmetic used.
Arithmetic knn_cpu(const Points& queries, const Points& keys, const KnnOptions& options, void* distances,
                   int64_t* indices, BadRows* bad);

// CUDA: Python multiplies blocks of queries and, in ascending order, of keys (points_cuda.h); each tile is looked at
// once. best and indices hold the nearest of the keys so far.
struct KnnTile {
  CudaFrame frame;
  int64_t dims, k, rows, cols, first_row, first_col;  // the tile begins at these rows of queries and of keys
  bool exclude_self, last;                            // last: no more keys come, distances are wanted
  const float* products;                              // (rows, cols)
  const float *row_base, *row_slack, *col_base, *col_slack;
  double* best;      // (rows, k)
  int64_t* indices;  // (rows, k)
  void* distances;   // (rows, k), float64 if the points are, else float32
};

constexpr int64_t kKnnShared = 1024;  // places for keys in the shared memory of a block of threads
// Room for the k best, and at least as much for others.
inline int64_t knn_places(int64_t k) {
  int64_t places = kKnnShared;
  while (places < 2 * k) places *= 2;
  return places;
}
// Bytes of workspace that each block of threads needs for them; 0 if they fit into shared memory.
inline int64_t knn_block_bytes(int64_t k) { return knn_places(k) > kKnnShared ? knn_places(k) * 12 : 0; }

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. Of the points `data` is used only.
void knn_cuda(const Points& queries, const Points& keys, const KnnTile& tile, void* workspace, int64_t workspace_bytes,
              int device, void* stream);
#endif

}  // namespace effdl

// Points on a CUDA device (points.h has what they are and the mathematics). A point in words is `dims` floats, so that
// torch.mm of two sets of them gives a tile of products; v = row_base + col_base + product.
#pragma once
#include "common/points.h"

namespace effdl {

// The numbers of Frame, known to the host.
struct CudaFrame {
  Metric metric;
  double scale, exact_scale;  // of features in words, and in float64 distances
  double square_scale;        // a float64 distance times this is one in words
  double bound, least;        // g, and what subnormal numbers add
};

#ifdef EFFDL_WITH_CUDA
// seen[0]: n less the first row with NaN or infinity, 0 if there is none; seen[1]: the bits of the double that is the
// largest absolute value. Both must be 0 before. Asynchronous on `stream`; device memory throughout.
void survey_points_cuda(const Points& points, unsigned long long* seen, int device, void* stream, const char* op);

// Words, base and slack of points[order[0]], ..., points[order[count - 1]]; without an order, of the first `count`.
// centre: (dims). words: (count, dims); base, slack: (count). Asynchronous on `stream`; device memory throughout.
void pack_points_cuda(const Points& points, const int64_t* order, int64_t count, const CudaFrame& frame,
                      const float* centre, float* words, float* base, float* slack, int device, void* stream,
                      const char* op);
#endif

}  // namespace effdl

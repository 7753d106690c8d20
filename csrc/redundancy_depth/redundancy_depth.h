// How many samples of its class are strictly nearer to a sample than the nearest one of any other class (thesis 5.4).
#pragma once
#include <cstdint>

#include "common/points.h"

namespace effdl {

struct RedundancyOptions {
  Metric metric = Metric::l2;
  Arithmetic arithmetic = Arithmetic::automatic;
  int64_t max_workspace = 0;  // bytes
  int64_t k = 0;              // above 0: depth[i] need only be right about depth[i] >= k
};

// features.n < 2^31 finite rows; labels, depth: n. Returns the arithmetic that was used, or throws std::bad_alloc.
// bad_row: the first row with NaN or infinity, -1 if there is none; if there is one, depth is undefined.
Arithmetic redundancy_depth_cpu(const Points& features, const int64_t* labels, const RedundancyOptions& options,
                                int32_t* depth, int64_t* bad_row);

}  // namespace effdl

// Entropy of a histogram, by one block; the sample of entropy.h.
#pragma once
#include "common/weights_cuda.cuh"
#include "entropy/entropy.h"

namespace effdl::cuda {

// In bits, the same for every thread of a block of kBlock and on every run. 0 if nothing was counted.
__device__ inline double block_entropy(const int64_t* counts, int bins, int64_t total) {
  double sum = 0.0;
  for (int b = threadIdx.x; b < bins; b += kBlock) {
    if (counts[b] == 0) continue;
    const double p = __ddiv_rn(static_cast<double>(counts[b]), static_cast<double>(total));
    sum -= __dmul_rn(p, log2(p));
  }
  return block_sum<kBlock>(sum) + 0.0;
}

}  // namespace effdl::cuda

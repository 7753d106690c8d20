#include <string.h>

#include "histogram/histogram.h"
#define EFFDL_LEVEL avx2
#include "histogram/histogram_body.inl"

namespace effdl::histogram {
extern const Kernels kernels_avx2 = avx2::histogram_kernels();
}  // namespace effdl::histogram

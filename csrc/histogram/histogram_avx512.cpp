#include <string.h>

#include "histogram/histogram.h"
#define EFFDL_LEVEL avx512
#include "histogram/histogram_body.inl"

namespace effdl::histogram {
extern const Kernels kernels_avx512 = avx512::histogram_kernels();
}  // namespace effdl::histogram

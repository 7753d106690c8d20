// How often each code occurs (thesis Algorithm 1, EstimateDistribution).
// codes: n elements, contiguous, any alignment. counts: `bins` (1 to 65536), overwritten.
#pragma once
#include <cstdint>

#include "common/quantizer.h"
#include "common/simd.h"

namespace effdl {

namespace histogram {
constexpr int kTables = 4;  // a code that comes again at once counts elsewhere, so that no add waits for the last one

// Adds the counts of n < 2^32 codes to kTables tables of `bins` each, table t at tables + t * bins. Returns the largest
// code; the tables are untouched where that is >= bins.
struct Kernels {
  uint32_t (*count8)(const uint8_t* codes, int64_t n, int64_t bins, uint32_t* tables);
  uint32_t (*count16)(const uint16_t* codes, int64_t n, int64_t bins, uint32_t* tables);
};
extern const Kernels kernels_scalar, kernels_avx2, kernels_avx512;
const Kernels& kernels();
}  // namespace histogram

// Returns the largest code; counts are undefined if it is >= bins. -1 for n == 0.
int64_t histogram_cpu(const void* codes, int code_bytes, int64_t n, int64_t bins, int64_t* counts);
// Fused: the histogram (2^q.bits) of the codes of finite x, which are not stored.
void quantize_histogram_cpu(const void* x, Dtype dtype, int64_t n, const Quantizer& q, int64_t* counts);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. If a code is >= bins, every count becomes -1.
void histogram_cuda(const void* codes, int code_bytes, int64_t n, int64_t bins, int64_t* counts, int device,
                    void* stream);
#endif

}  // namespace effdl

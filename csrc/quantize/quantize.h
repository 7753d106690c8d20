// Range and codes of weights (thesis Algorithm 1, lines 3 and 6; docs/format.md).
// Everything here works on contiguous spans and reads `x` once. x, codes: n elements, not overlapping, any alignment.
#pragma once
#include <cstdint>

#include "common/quantizer.h"
#include "common/simd.h"

namespace effdl {

struct MinMax {
  double lo, hi;  // of the finite elements; -0 counts as +0. Undefined if !finite
  bool finite;
};

namespace quantize {
// One per SIMD level, for float32, float16 and bfloat16 sources and narrow quantizers. min_max needs n > 0.
struct Kernels {
  MinMax (*min_max[3])(const void* x, int64_t n);
  bool (*codes8[3])(const void* x, int64_t n, const Quantizer& q, uint8_t* codes);
  bool (*codes16[3])(const void* x, int64_t n, const Quantizer& q, uint16_t* codes);
};
extern const Kernels kernels_scalar, kernels_avx2, kernels_avx512;

// Codes of a span by the current level; false if an element is not finite (its code is then 0 or the last, the rest is
// right). codes8 for bits <= 8 only.
bool codes8(const void* x, Dtype dtype, int64_t n, const Quantizer& q, uint8_t* codes);
bool codes16(const void* x, Dtype dtype, int64_t n, const Quantizer& q, uint16_t* codes);
}  // namespace quantize

// The range of n >= 0 elements, on torch's threads. lo = hi = 0 for n == 0.
MinMax min_max_cpu(const void* x, Dtype dtype, int64_t n);
// uint8 codes if code_bytes == 1, else uint16. Returns false if an element is not finite.
bool quantize_cpu(const void* x, Dtype dtype, int64_t n, const Quantizer& q, void* codes, int code_bytes);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. range: (lo, hi) as float32, float64 for float64 x; NaN, NaN if an
// element is not finite. workspace: min_max_workspace_bytes(), zero or anything.
void min_max_cuda(const void* x, Dtype dtype, int64_t n, void* range, void* workspace, int device, void* stream);
// The quantizer is made on the device from `range` and `bits`; a NaN or unquantizable range gives codes 0.
void quantize_cuda(const void* x, Dtype dtype, int64_t n, const void* range, int bits, void* codes, int code_bytes,
                   int device, void* stream);
int64_t min_max_workspace_bytes();
#endif

}  // namespace effdl

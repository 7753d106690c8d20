// Codes back to weights (thesis Algorithm 2, line 4; docs/format.md): value(q) = lo + (q + 0.5) * step.
// codes, out: n elements, contiguous, not overlapping, any alignment.
#pragma once
#include <cstdint>

#include "common/quantizer.h"
#include "common/simd.h"

namespace effdl {

namespace dequantize {
// One per SIMD level, narrow quantizers, to float32, float16 and bfloat16. stream: float32 goes past the cache, if out
// is aligned to a vector.
struct Kernels {
  void (*values8[3])(const uint8_t* codes, int64_t n, const Quantizer& q, void* out, bool stream);
  void (*values16[3])(const uint16_t* codes, int64_t n, const Quantizer& q, void* out, bool stream);
};
extern const Kernels kernels_scalar, kernels_avx2, kernels_avx512;

// Once, before the values of an output of n elements are written. Returns whether they are to be streamed: whether it
// is too large to wait in the cache for its reader.
bool prepare_output(void* out, int64_t n, Dtype dtype);
// Values of a span by the current level.
void values8(const uint8_t* codes, int64_t n, const Quantizer& q, void* out, Dtype dtype, bool stream);
void values16(const uint16_t* codes, int64_t n, const Quantizer& q, void* out, Dtype dtype, bool stream);
}  // namespace dequantize

// uint8 codes if code_bytes == 1, else uint16; on torch's threads.
void dequantize_cpu(const void* codes, int code_bytes, int64_t n, const Quantizer& q, void* out, Dtype dtype);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. range: (lo, hi), float64 if range_is_double (a float64 source),
// else float32. A range that quantizable() refuses gives NaN.
void dequantize_cuda(const void* codes, int code_bytes, int64_t n, const void* range, bool range_is_double, int bits,
                     void* out, Dtype dtype, int device, void* stream);
#endif

}  // namespace effdl

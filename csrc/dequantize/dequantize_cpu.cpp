// The scalar level, float64 arithmetic, the run-time choice, and threads.
#include "common/exact_floats.h"
#include "common/large_output.h"
#include "common/parallel.h"
#include "common/simd_codes_scalar.h"
#include "dequantize/dequantize.h"
#define EFFDL_LEVEL scalar
#include "dequantize/dequantize_body.inl"

namespace effdl {
namespace dequantize {

extern const Kernels kernels_scalar = scalar::dequantize_kernels();

namespace {

constexpr int64_t kGrain = 1 << 16;  // elements that are worth a thread

const Kernels& kernels() {
  static const Kernels* const levels[] = {&kernels_scalar, EFFDL_IF_X86(&kernels_avx2), EFFDL_IF_X86(&kernels_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

int index_of(Dtype dtype) { return dtype == Dtype::f32 ? 0 : dtype == Dtype::f16 ? 1 : 2; }

// Wide quantizers, and float64 values of narrow ones: those are rounded to float32 like everybody's.
template <class Code>
void values(const Code* codes, int64_t n, const Quantizer& q, void* out, Dtype dtype) {
  const float lo = static_cast<float>(q.lo), step = static_cast<float>(q.step);
  for (int64_t i = 0; i < n; ++i) {
    const double v = q.wide ? q.lo + (codes[i] + 0.5) * q.step : lo + (static_cast<float>(codes[i]) + 0.5f) * step;
    if (dtype == Dtype::f64) {
      static_cast<double*>(out)[i] = v;
    } else if (dtype == Dtype::f32) {
      static_cast<float*>(out)[i] = static_cast<float>(v);
    } else if (dtype == Dtype::f16) {
      scalar::store(static_cast<half_t*>(out) + i, static_cast<float>(v));
    } else {
      scalar::store(static_cast<bfloat16_t*>(out) + i, static_cast<float>(v));
    }
  }
}

}  // namespace

bool prepare_output(void* out, int64_t n, Dtype dtype) {
  const int64_t bytes = n * dtype_size(dtype);
  expect_output(out, bytes);
  return bytes >= kLargeOutput;
}

void values8(const uint8_t* codes, int64_t n, const Quantizer& q, void* out, Dtype dtype, bool stream) {
  if (q.wide || dtype == Dtype::f64) return values(codes, n, q, out, dtype);
  kernels().values8[index_of(dtype)](codes, n, q, out, stream);
}

void values16(const uint16_t* codes, int64_t n, const Quantizer& q, void* out, Dtype dtype, bool stream) {
  if (q.wide || dtype == Dtype::f64) return values(codes, n, q, out, dtype);
  kernels().values16[index_of(dtype)](codes, n, q, out, stream);
}

}  // namespace dequantize

void dequantize_cpu(const void* codes, int code_bytes, int64_t n, const Quantizer& q, void* out, Dtype dtype) {
  using namespace dequantize;
  record_kernel("dequantize", q.wide || dtype == Dtype::f64 ? "f64" : simd_name(simd_level()));
  const bool stream = prepare_output(out, n, dtype);
  auto body = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    char* to = static_cast<char*>(out) + begin * dtype_size(dtype);
    if (code_bytes == 1) {
      values8(static_cast<const uint8_t*>(codes) + begin, end - begin, q, to, dtype, stream);
    } else {
      values16(static_cast<const uint16_t*>(codes) + begin, end - begin, q, to, dtype, stream);
    }
  };
  parallel_for(0, n, kGrain, body);
}

}  // namespace effdl

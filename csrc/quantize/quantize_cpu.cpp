// The scalar level, wide quantizers, the run-time choice, and threads.
#include <cmath>
#include <mutex>

#include "common/exact_floats.h"
#include "common/parallel.h"
#include "common/simd_codes_scalar.h"
#include "quantize/quantize.h"
#define EFFDL_LEVEL scalar
#include "quantize/quantize_body.inl"

namespace effdl {
namespace quantize {

extern const Kernels kernels_scalar = scalar::quantize_kernels();

namespace {

constexpr int64_t kGrain = 1 << 16;  // elements that are worth a thread

const Kernels& kernels() {
  static const Kernels* const levels[] = {&kernels_scalar, EFFDL_IF_X86(&kernels_avx2), EFFDL_IF_X86(&kernels_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

int index_of(Dtype dtype) { return dtype == Dtype::f32 ? 0 : dtype == Dtype::f16 ? 1 : 2; }

double element(const double* p) { return *p; }
template <class T>
double element(const T* p) {
  return scalar::load(p);
}

// float64 sources, and ranges that need float64.
template <class T, class Code>
bool wide_codes(const void* data, int64_t n, const Quantizer& q, Code* codes) {
  const T* x = static_cast<const T*>(data);
  const double last = (1 << q.bits) - 1;
  bool finite = true;
  for (int64_t i = 0; i < n; ++i) {
    const double v = element(x + i), scaled = (v - q.lo) * q.inv_step;
    const double from_zero = scaled > 0.0 ? scaled : 0.0;
    codes[i] = static_cast<Code>(static_cast<int32_t>(from_zero < last ? from_zero : last));
    finite = finite && std::isfinite(v);
  }
  return finite;
}

template <class Code>
bool wide_codes(const void* x, Dtype dtype, int64_t n, const Quantizer& q, Code* codes) {
  if (dtype == Dtype::f64) return wide_codes<double>(x, n, q, codes);
  if (dtype == Dtype::f32) return wide_codes<float>(x, n, q, codes);
  if (dtype == Dtype::f16) return wide_codes<half_t>(x, n, q, codes);
  return wide_codes<bfloat16_t>(x, n, q, codes);
}

MinMax min_max_double(const double* x, int64_t n) {
  MinMax r{x[0], x[0], true};
  double poison = 0.0;  // NaN once an element is NaN or infinite
  for (int64_t i = 0; i < n; ++i) {
    r.lo = x[i] < r.lo ? x[i] : r.lo;
    r.hi = x[i] > r.hi ? x[i] : r.hi;
    poison += x[i] * 0.0;
  }
  return {r.lo + 0.0, r.hi + 0.0, poison == 0.0};
}

}  // namespace

bool codes8(const void* x, Dtype dtype, int64_t n, const Quantizer& q, uint8_t* codes) {
  return q.wide || dtype == Dtype::f64 ? wide_codes(x, dtype, n, q, codes)
                                       : kernels().codes8[index_of(dtype)](x, n, q, codes);
}

bool codes16(const void* x, Dtype dtype, int64_t n, const Quantizer& q, uint16_t* codes) {
  return q.wide || dtype == Dtype::f64 ? wide_codes(x, dtype, n, q, codes)
                                       : kernels().codes16[index_of(dtype)](x, n, q, codes);
}

}  // namespace quantize

MinMax min_max_cpu(const void* x, Dtype dtype, int64_t n) {
  using namespace quantize;
  record_kernel("quantize", dtype == Dtype::f64 ? "f64" : simd_name(simd_level()));
  if (n == 0) return {0.0, 0.0, true};
  const Kernels& level = kernels();
  const auto span = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    if (dtype == Dtype::f64) return min_max_double(static_cast<const double*>(x) + begin, end - begin);
    const char* from = static_cast<const char*>(x) + begin * dtype_size(dtype);
    return level.min_max[index_of(dtype)](from, end - begin);
  };
  MinMax all = span(0, n < kGrain ? n : 1);
  if (n < kGrain) return all;
  std::mutex mutex;
  auto body = [&](int64_t begin, int64_t end) {
    const MinMax part = span(begin, end);
    const std::lock_guard<std::mutex> lock(mutex);
    all.lo = part.lo < all.lo ? part.lo : all.lo;
    all.hi = part.hi > all.hi ? part.hi : all.hi;
    all.finite = all.finite && part.finite;
  };
  parallel_for(0, n, kGrain, body);
  return all;
}

bool quantize_cpu(const void* x, Dtype dtype, int64_t n, const Quantizer& q, void* codes, int code_bytes) {
  using namespace quantize;
  record_kernel("quantize", q.wide ? "f64" : simd_name(simd_level()));
  std::mutex mutex;
  bool finite = true;
  auto body = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    const char* from = static_cast<const char*>(x) + begin * dtype_size(dtype);
    const bool ok = code_bytes == 1 ? codes8(from, dtype, end - begin, q, static_cast<uint8_t*>(codes) + begin)
                                    : codes16(from, dtype, end - begin, q, static_cast<uint16_t*>(codes) + begin);
    const std::lock_guard<std::mutex> lock(mutex);
    finite = finite && ok;
  };
  parallel_for(0, n, kGrain, body);
  return finite;
}

}  // namespace effdl

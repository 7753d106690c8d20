#include <algorithm>
#include <cmath>
#include <vector>

#include "common/simd.h"
#include "entropy/entropy.h"
#include "histogram/histogram.h"
#include "quantize/quantize.h"

namespace effdl {

Sample make_sample(int64_t n, double fraction, int64_t seed) {
  const double wanted = std::ceil(fraction * static_cast<double>(n));
  const int64_t least = std::min(n, Sample::kLeast);
  const int64_t m = wanted >= static_cast<double>(n) ? n : std::max(static_cast<int64_t>(wanted), least);
  int64_t runs = (m + Sample::kRun - 1) / Sample::kRun;
  if (m == n || n < Sample::kTooFew || runs > n / Sample::kRun) runs = 0;
  return {n, runs, static_cast<uint64_t>(seed)};
}

double entropy_cpu(const void* x, Dtype dtype, const Sample& sample, const Quantizer& q) {
  record_kernel("entropy", q.wide ? "f64" : simd_name(simd_level()));
  if (sample.n == 0) return 0.0;
  std::vector<int64_t> counts(size_t{1} << q.bits);
  if (sample.runs == 0) {
    quantize_histogram_cpu(x, dtype, sample.n, q, counts.data());
    record_kernel("entropy", q.wide ? "f64" : simd_name(simd_level()));
  } else {
    constexpr int64_t kTogether = 64;  // runs, whose memory is on its way while the next ones are chosen
    const int64_t bytes = Sample::kRun * dtype_size(dtype);
    const char* runs[kTogether];
    uint16_t codes[kTogether * Sample::kRun];
    for (int64_t first = 0; first < sample.runs; first += kTogether) {
      const int64_t count = std::min(kTogether, sample.runs - first);
      for (int64_t j = 0; j < count; ++j) {
        runs[j] = static_cast<const char*>(x) + run_start(sample, first + j) * dtype_size(dtype);
        __builtin_prefetch(runs[j]);
        __builtin_prefetch(runs[j] + bytes - 1);
      }
      for (int64_t j = 0; j < count; ++j) quantize::codes16(runs[j], dtype, Sample::kRun, q, codes + j * Sample::kRun);
      for (int64_t i = 0; i < count * Sample::kRun; ++i) ++counts[codes[i]];
    }
  }
  const double total = static_cast<double>(sample.size());
  double entropy = 0.0;
  for (const int64_t count : counts) {
    if (count != 0) entropy -= static_cast<double>(count) / total * std::log2(static_cast<double>(count) / total);
  }
  return entropy + 0.0;
}

}  // namespace effdl

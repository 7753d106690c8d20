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
    const int64_t size = dtype_size(dtype);
    uint16_t codes[kQuantizeTile];
    for (int64_t j = 0; j < sample.runs;) {
      int64_t filled = 0;
      for (; j < sample.runs && filled < kQuantizeTile; ++j, filled += Sample::kRun) {
        const char* run = static_cast<const char*>(x) + run_start(sample, j) * size;
        quantize::codes16(run, dtype, Sample::kRun, q, codes + filled);
      }
      for (int64_t i = 0; i < filled; ++i) ++counts[codes[i]];
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

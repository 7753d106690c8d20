// The scalar level, the run-time choice, threads, and the histogram of weights that are quantized on the way.
#include <string.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "common/exact_floats.h"
#include "common/parallel.h"
#include "histogram/histogram.h"
#include "quantize/quantize.h"
#define EFFDL_LEVEL scalar
#include "histogram/histogram_body.inl"

namespace effdl {
namespace histogram {

extern const Kernels kernels_scalar = scalar::histogram_kernels();

const Kernels& kernels() {
  static const Kernels* const levels[] = {&kernels_scalar, EFFDL_IF_X86(&kernels_avx2), EFFDL_IF_X86(&kernels_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

namespace {

constexpr int64_t kGrain = 1 << 17;          // elements that are worth a thread and its tables
constexpr int64_t kSpan = int64_t{1} << 31;  // a table's counters have 32 bits

// count(begin, end, tables) on disjoint ranges, and the sum of all tables; returns the largest code.
template <class Count>
uint32_t sum_tables(int64_t n, int64_t bins, int64_t* counts, const Count& count) {
  std::fill(counts, counts + bins, 0);
  std::mutex mutex;
  uint32_t largest = 0;
  auto body = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    std::vector<uint32_t> tables(static_cast<size_t>(kTables * bins));
    for (int64_t from = begin; from < end; from += kSpan) {
      const uint32_t top = count(from, std::min(end, from + kSpan), tables.data());
      const std::lock_guard<std::mutex> lock(mutex);
      largest = std::max(largest, top);
      for (int64_t b = 0; b < bins; ++b) {
        for (int t = 0; t < kTables; ++t) counts[b] += tables[static_cast<size_t>(t * bins + b)];
      }
      if (from + kSpan < end) std::fill(tables.begin(), tables.end(), 0);
    }
  };
  parallel_for(0, n, std::max(kGrain, 4 * bins), body);
  return largest;
}

}  // namespace
}  // namespace histogram

int64_t histogram_cpu(const void* codes, int code_bytes, int64_t n, int64_t bins, int64_t* counts) {
  using namespace histogram;
  record_kernel("histogram", simd_name(simd_level()));
  const Kernels& level = kernels();
  const auto count = [&](int64_t begin, int64_t end, uint32_t* tables) {
    return code_bytes == 1 ? level.count8(static_cast<const uint8_t*>(codes) + begin, end - begin, bins, tables)
                           : level.count16(static_cast<const uint16_t*>(codes) + begin, end - begin, bins, tables);
  };
  const uint32_t largest = sum_tables(n, bins, counts, count);
  return n == 0 ? int64_t{-1} : int64_t{largest};
}

void quantize_histogram_cpu(const void* x, Dtype dtype, int64_t n, const Quantizer& q, int64_t* counts) {
  using namespace histogram;
  record_kernel("histogram", simd_name(simd_level()));
  const Kernels& level = kernels();
  const int64_t bins = int64_t{1} << q.bits;
  const auto count = [&](int64_t begin, int64_t end, uint32_t* tables) {
    uint32_t largest = 0;
    uint16_t codes[kQuantizeTile];
    for (int64_t from = begin; from < end; from += kQuantizeTile) {
      const int64_t length = std::min(end - from, kQuantizeTile);
      quantize::codes16(static_cast<const char*>(x) + from * dtype_size(dtype), dtype, length, q, codes);
      largest = level.count16(codes, length, bins, tables);
    }
    return largest;
  };
  sum_tables(n, bins, counts, count);
}

}  // namespace effdl

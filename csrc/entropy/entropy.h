// The entropy of a sample of weights, quantized to few bits (thesis Algorithm 1, EstimateEntropy; docs/format.md).
#pragma once
#include <cmath>
#include <cstdint>

#include "common/portable.h"
#include "common/quantizer.h"

namespace effdl {

// Which elements are looked at: `runs` runs of kRun neighbours, or all n where runs == 0.
struct Sample {
  static constexpr int64_t kRun = 16, kLeast = 1024, kTooFew = 32;
  int64_t n, runs;
  uint64_t seed;

  int64_t size() const { return runs == 0 ? n : runs * kRun; }
};
Sample make_sample(int64_t n, double fraction, int64_t seed);

// floor(a * b / c) without overflow, for a * b / c < 2^63, 0 <= a <= c.
EFFDL_HOST_DEVICE inline int64_t multiply_divide(int64_t a, int64_t b, int64_t c) {
  return b / c * a +
         static_cast<int64_t>(static_cast<uint64_t>(b % c) * static_cast<uint64_t>(a) / static_cast<uint64_t>(c));
}
// First element of run j.
EFFDL_HOST_DEVICE inline int64_t run_start(const Sample& sample, int64_t j) {
  const int64_t begin = multiply_divide(j, sample.n, sample.runs);
  const int64_t length = multiply_divide(j + 1, sample.n, sample.runs) - begin;
  uint64_t z = sample.seed + static_cast<uint64_t>(j + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return begin + static_cast<int64_t>((z >> 1) % static_cast<uint64_t>(length - Sample::kRun + 1));
}

// In bits; 0 for n == 0. x finite, q its quantizer over the range of all of x.
double entropy_cpu(const void* x, Dtype dtype, const Sample& sample, const Quantizer& q);
// Bits that a record takes for an estimated entropy: ceil(entropy + floor), 1 to 16.
EFFDL_HOST_DEVICE inline int bits_for_entropy(double entropy, double floor) {
  const double wanted = std::ceil(entropy + floor - 1e-9);
  return wanted < 1.0 ? 1 : wanted > 16.0 ? 16 : static_cast<int>(wanted);
}

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. out: float64, NaN if an element of x is not finite or its range
// is not quantizable.
void entropy_cuda(const void* x, Dtype dtype, const Sample& sample, int bits, double* out, void* workspace, int device,
                  void* stream);
int64_t entropy_workspace_bytes();
// The same over a range that min_max_cuda found. counts: 2^bits of scratch.
void entropy_of_range_cuda(const void* x, Dtype dtype, const Sample& sample, int bits, const void* range, double* out,
                           int64_t* counts, int device, void* stream);
#endif

}  // namespace effdl

// The scalar level, the run-time choice, and threads.
#include "common/simd_real_scalar.h"
#include "layer_moments/layer_moments.h"
#define EFFDL_LEVEL scalar
#include <algorithm>
#include <memory>

#include "common/exact_floats.h"
#include "common/parallel.h"
#include "layer_moments/layer_moments_body.inl"

namespace effdl {
namespace layer_moments {

extern const Kernels kernels_scalar = scalar::layer_moments_kernels();

namespace {

constexpr int64_t kLeastRows = 512;       // of a group of rows whose sums are added up apart
constexpr int64_t kMostGroups = 16;       // so that their sums stay few
constexpr int64_t kMostSums = 1 << 20;    // doubles for sums of groups at a time
constexpr int64_t kThreadWork = 400'000;  // multiply-adds that are worth a thread
constexpr int64_t kSumWork = 20'000;      // additions that are
constexpr int64_t kActivationWork[kActivations] = {1, 1, 16, 20, 20, 1};  // multiply-adds as long as an activation

const Kernels& kernels() {
  static const Kernels* const levels[] = {&kernels_scalar, EFFDL_IF_X86(&kernels_avx2), EFFDL_IF_X86(&kernels_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

int index_of(Dtype dtype) { return dtype == Dtype::f32 ? 0 : dtype == Dtype::f64 ? 1 : dtype == Dtype::f16 ? 2 : 3; }

// 64-byte aligned doubles.
class Room {
 public:
  explicit Room(int64_t size) : memory_(new double[static_cast<size_t>(size) + 8]) {}
  double* data() const {
    return reinterpret_cast<double*>((reinterpret_cast<uintptr_t>(memory_.get()) + 63) & ~uintptr_t{63});
  }

 private:
  std::unique_ptr<double[]> memory_;
};

// Sums of groups, in order, to a symmetric matrix.
void write_moments(const Problem& p, const double* sums, int64_t sums_stride, const double* base, int64_t base_stride,
                   int64_t groups, double* moments) {
  const int w = p.width, others = 1 + p.targets;
  const int64_t n = w + others;
  const auto put = [&](const double* from, int64_t stride, int64_t i, int64_t j) {
    double total = 0.0;
    for (int64_t g = 0; g < groups; ++g) total += from[g * stride];
    moments[i * n + j] = moments[j * n + i] = total;
  };
  const auto place = [&](int other) { return other == 0 ? 0 : w + other; };
  for (int i = 0; i < w; ++i) {
    for (int j = i; j < w; ++j) put(sums++, sums_stride, 1 + i, 1 + j);
  }
  for (int i = 0; i < w; ++i) {
    for (int j = 0; j < others; ++j) put(sums++, sums_stride, 1 + i, place(j));
  }
  for (int i = 0; i < others; ++i) {
    for (int j = i; j < others; ++j) put(base++, base_stride, place(i), place(j));
  }
}

}  // namespace
}  // namespace layer_moments

void layer_moments_cpu(const layer_moments::Problem& p) {
  using namespace layer_moments;
  record_kernel("layer_moments", simd_name(simd_level()));
  const auto run = kernels().run[index_of(p.z_dtype)];
  const int64_t n = 1 + p.width + p.targets, count = sum_count(p.width, p.targets), bases = base_count(p.targets);
  // Groups depend on the rows alone: what a try gives does not depend on the others.
  const int64_t even = (p.rows + kMostGroups - 1) / kMostGroups;
  const int64_t group = std::max(kLeastRows, (even + kRows - 1) / kRows * kRows);
  const int64_t groups = (p.rows + group - 1) / group;
  const int64_t fit = kMostSums / std::max<int64_t>(1, groups * count) / kSlice * kSlice;
  const int64_t at_once = std::min(p.tries, std::max<int64_t>(kSlice, fit));
  const Room sums(groups * (at_once * count + bases));
  double* const base = sums.data() + groups * at_once * count;
  const int64_t work = n * n / 2 + static_cast<int64_t>(p.width) *
                                       (p.inputs + kActivationWork[static_cast<int>(p.activation)]);  // of a row

  for (int64_t first = 0; first < p.tries; first += at_once) {
    const int64_t tries = std::min(at_once, p.tries - first), slices = (tries + kSlice - 1) / kSlice;
    auto some = [&](int64_t begin, int64_t end) {
      const ExactFloats exact;
      const Room scratch(scratch_doubles(p.inputs, p.width, p.targets));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t g = i / slices, t = i % slices * kSlice;
        Task task;
        task.problem = &p;
        task.row_begin = g * group;
        task.row_end = std::min(p.rows, task.row_begin + group);
        task.try_begin = first + t;
        task.try_end = first + std::min(tries, t + kSlice);
        task.scratch = scratch.data();
        task.sums = sums.data() + (g * at_once + t) * count;
        task.base_sums = first == 0 && t == 0 ? base + g * bases : nullptr;
        run(task);
      }
    };
    const int64_t task_work = std::max<int64_t>(1, std::min(group, p.rows) * work * tries / slices);
    parallel_for(0, groups * slices, (kThreadWork + task_work - 1) / task_work, some);
    auto add_up = [&](int64_t begin, int64_t end) {
      const ExactFloats exact;
      for (int64_t t = begin; t < end; ++t) {
        write_moments(p, sums.data() + t * count, at_once * count, base, bases, groups,
                      p.moments + (first + t) * n * n);
      }
    };
    parallel_for(0, tries, kSumWork / (groups * n * n / 2 + 1) + 1, add_up);
  }
}

}  // namespace effdl

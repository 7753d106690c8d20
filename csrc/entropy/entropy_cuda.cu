#include "common/entropy_cuda.cuh"
#include "common/simd.h"
#include "quantize/quantize.h"

namespace effdl {
namespace {

using namespace cuda;

constexpr int64_t kMostBins = 1 << 16;

template <class Real>
__global__ void __launch_bounds__(kThreads)
    sample_kernel(const void* x, Dtype dtype, const Sample sample, const void* range, int bits, int64_t* counts) {
  __shared__ uint32_t tables[kSharedBins];
  Quantizer q;
  if (!read_quantizer(range, dtype == Dtype::f64, bits, &q)) return;  // all threads or none
  const BlockCounts block(tables, 1 << bits, counts);
  const auto add = [&](int64_t i) { block.add(code_of(q, read<Real>(x, dtype, i))); };
  if (sample.runs == 0) {
    for (int64_t i = grid_thread(); i < sample.n; i += grid_threads()) add(i);
  }
  // A warp finds the starts of 32 runs, one per lane, and then looks at two runs at a time.
  constexpr int kRun = static_cast<int>(Sample::kRun);
  for (int64_t first = grid_thread() / kWarp * kWarp; first < sample.runs; first += grid_threads()) {
    const int64_t mine = first + lane_id() < sample.runs ? run_start(sample, first + lane_id()) : -1;
    for (int run = 0; run < kWarp; run += kWarp / kRun) {
      const int64_t start = __shfl_sync(kAllLanes, mine, run + lane_id() / kRun);
      if (start >= 0) add(start + lane_id() % kRun);
    }
  }
  block.flush();
}

__global__ void __launch_bounds__(kBlock, 1)
    entropy_kernel(const int64_t* counts, int64_t total, const void* range, bool is_double, int bits, double* out) {
  const double entropy = block_entropy(counts, 1 << bits, total);
  Quantizer q;
  if (threadIdx.x == 0) *out = read_quantizer(range, is_double, bits, &q) ? entropy : NAN;
}

struct Space {
  double* range;
  char* min_max;
  int64_t* counts;
  int64_t bytes;
  explicit Space(void* memory) {
    Workspace space(memory);
    range = space.take<double>(2);
    min_max = space.take<char>(min_max_workspace_bytes());
    counts = space.take<int64_t>(kMostBins);
    bytes = space.bytes();
  }
};

}  // namespace

void entropy_of_range_cuda(const void* x, Dtype dtype, const Sample& sample, int bits, const void* range, double* out,
                           int64_t* counts, int device, void* stream) {
  const char* op = "entropy";
  const DeviceGuard guard(device, op);
  clear(counts, int64_t{8} << bits, stream, op);
  if (sample.n > 0) {
    const int blocks = pass_blocks(sample.size(), 16, device, op);
    auto* kernel = dtype == Dtype::f64 ? sample_kernel<double> : sample_kernel<float>;
    launch(op, kernel, blocks, kThreads, stream, x, dtype, sample, range, bits, counts);
  }
  launch(op, entropy_kernel, 1, kBlock, stream, counts, sample.size(), range, dtype == Dtype::f64, bits, out);
  record_kernel(op, "cuda");
}

int64_t entropy_workspace_bytes() { return Space(nullptr).bytes; }

void entropy_cuda(const void* x, Dtype dtype, const Sample& sample, int bits, double* out, void* workspace, int device,
                  void* stream) {
  const Space space(workspace);
  min_max_cuda(x, dtype, sample.n, space.range, space.min_max, device, stream);
  entropy_of_range_cuda(x, dtype, sample, bits, space.range, out, space.counts, device, stream);
}

}  // namespace effdl

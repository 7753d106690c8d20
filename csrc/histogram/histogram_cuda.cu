#include "common/simd.h"
#include "common/weights_cuda.cuh"
#include "histogram/histogram.h"

namespace effdl {
namespace {

using namespace cuda;

constexpr unsigned long long kBad = 1ull << 63;  // makes the first count negative, whatever else is added to it

template <class Code>
__global__ void __launch_bounds__(kThreads) histogram_kernel(const Code* codes, int64_t n, int bins, int64_t* counts) {
  __shared__ uint32_t tables[kSharedBins];
  const BlockCounts block(tables, bins, counts);
  bool bad = false;
  for_each_run(codes, n, [&](int64_t i, auto size) {
    const Pack<Code, size()> pack = load<Code, size()>(codes + i);
#pragma unroll
    for (int j = 0; j < size(); ++j) {
      if (pack.v[j] < bins) {
        block.add(pack.v[j]);
      } else {
        bad = true;
      }
    }
  });
  block.flush();
  if (bad) atomicOr(reinterpret_cast<unsigned long long*>(counts), kBad);
}

// One block.
__global__ void __launch_bounds__(kBlock, 1) histogram_finish_kernel(int bins, int64_t* counts) {
  const bool bad = counts[0] < 0;
  __syncthreads();
  for (int b = threadIdx.x; bad && b < bins; b += kBlock) counts[b] = -1;
}

}  // namespace

void histogram_cuda(const void* codes, int code_bytes, int64_t n, int64_t bins, int64_t* counts, int device,
                    void* stream) {
  const char* op = "histogram";
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  clear(counts, bins * 8, stream, op);
  if (n == 0) return;
  const int blocks = pass_blocks(n, 32, device, op), width = static_cast<int>(bins);
  if (code_bytes == 1) {
    launch(op, histogram_kernel<uint8_t>, blocks, kThreads, stream, static_cast<const uint8_t*>(codes), n, width,
           counts);
  } else {
    launch(op, histogram_kernel<uint16_t>, blocks, kThreads, stream, static_cast<const uint16_t*>(codes), n, width,
           counts);
  }
  if (bins < int64_t{1} << (8 * code_bytes)) launch(op, histogram_finish_kernel, 1, kBlock, stream, width, counts);
}

}  // namespace effdl

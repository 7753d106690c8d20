#include "common/package_merge.cuh"
#include "common/simd.h"
#include "huffman_lengths/huffman_lengths.h"

namespace effdl {
namespace {

using namespace cuda;

// Whether no count is negative, their sum is at most kMaxCountSum, and codes of `limit` bits suffice.
__device__ inline bool acceptable(const int64_t* counts, int bins, int limit) {
  bool each = true;
  int used = 0;
  int64_t high = 0, low = 0;  // of sums, whose parts cannot overflow
  for (int i = threadIdx.x; i < bins; i += kBlock) {
    const int64_t count = counts[i];
    each = each && count >= 0 && count <= kMaxCountSum;
    used += count != 0;
    high += each ? count >> 20 : 0;
    low += each ? count & ((1 << 20) - 1) : 0;
  }
  used = block_total(used);
  high = block_total(high);
  low = block_total(low);
  return __syncthreads_and(each && used <= 1 << limit && high <= kMaxCountSum >> 20 &&
                           (high << 20) + low <= kMaxCountSum) != 0;
}

__global__ void __launch_bounds__(kBlock, 1)
    huffman_lengths_kernel(const int64_t* counts, int bins, int limit, uint8_t* lengths, const MergeSpace space) {
  if (acceptable(counts, bins, limit)) {
    package_merge(counts, bins, limit, lengths, space);
  } else {
    for (int i = threadIdx.x; i < bins; i += kBlock) lengths[i] = 255;
  }
}

}  // namespace

int64_t huffman_lengths_workspace_bytes(int64_t bins) {
  Workspace space(nullptr);
  MergeSpace(bins, &space);
  return space.bytes();
}

void huffman_lengths_cuda(const int64_t* counts, int64_t bins, int max_length, uint8_t* lengths, void* workspace,
                          int device, void* stream) {
  const char* op = "huffman_lengths";
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  Workspace space(workspace);
  launch(op, huffman_lengths_kernel, 1, kBlock, stream, counts, static_cast<int>(bins), max_length, lengths,
         MergeSpace(bins, &space));
}

}  // namespace effdl

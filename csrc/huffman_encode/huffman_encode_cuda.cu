#include "common/huffman_cuda.cuh"
#include "common/lanes_cuda.cuh"
#include "huffman_encode/huffman_encode.h"

namespace effdl {
namespace {

using namespace cuda;

struct Space {
  uint32_t* table;
  ChunkScratch scratch;
  int64_t bytes;
  Space(int64_t n, int64_t bins, Workspace memory)
      : table(memory.take<uint32_t>(bins)), scratch(n, &memory), bytes(memory.bytes()) {}
};

__global__ void __launch_bounds__(kBlock, 1) encode_table_kernel(const uint8_t* lengths, int bins, const Space space) {
  __shared__ Canonical canonical;
  make_canonical(lengths, bins, &canonical);
  if (threadIdx.x == 0) *space.scratch.bad = 0;
  if (canonical.complete) {
    make_encode_table(lengths, bins, canonical, space.table);
  } else {
    for (int s = threadIdx.x; s < bins; s += kBlock) space.table[s] = 0;  // so that every code is bad
  }
}

template <class Code>
__global__ void __launch_bounds__(kMaxChunkWarps* kWarp)
    encode_kernel(const Code* codes, int64_t n, int bins, const Space space) {
  __shared__ uint32_t table[kSharedCodes];
  const HuffmanEncoder encoder{nearest_table(space.table, bins, table)};
  for_each_chunk(n, [&](int64_t c) { encode_chunk(codes, n, c, bins, encoder, space.scratch); });
}

__global__ void __launch_bounds__(kBlock, 1) place_kernel(int64_t n, const Space space, int32_t* sizes) {
  place_chunks(n, space.scratch, sizes);
}

__global__ void __launch_bounds__(kThreads) gather_kernel(int64_t n, const Space space, uint8_t* payload) {
  gather_chunks(n, space.scratch, payload);
}

}  // namespace

int64_t huffman_encode_workspace_bytes(int64_t n, int64_t bins) { return Space(n, bins, Workspace(nullptr)).bytes; }

void huffman_encode_cuda(const void* codes, int64_t n, const uint8_t* lengths, int64_t bins, uint8_t* payload,
                         int32_t* sizes, void* workspace, int device, void* stream) {
  const char* op = "huffman_encode";
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  if (n == 0) return;
  const Space space(n, bins, Workspace(workspace));
  const int width = static_cast<int>(bins);
  launch(op, encode_table_kernel, 1, kBlock, stream, lengths, width, space);
  const ChunkLaunch chunks(n, device, op);
  if (bins <= 256) {
    launch(op, encode_kernel<uint8_t>, chunks.blocks, chunks.threads, stream, static_cast<const uint8_t*>(codes), n,
           width, space);
  } else {
    launch(op, encode_kernel<uint16_t>, chunks.blocks, chunks.threads, stream, static_cast<const uint16_t*>(codes), n,
           width, space);
  }
  launch(op, place_kernel, 1, kBlock, stream, n, space, sizes);
  const int blocks = static_cast<int>(least<int64_t>(lanes::chunk_count(n), 1 << 20));
  launch(op, gather_kernel, blocks, kThreads, stream, n, space, payload);
}

}  // namespace effdl

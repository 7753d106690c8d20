#include "common/decode_cuda.cuh"
#include "huffman_decode/huffman_decode.h"

namespace effdl {
namespace {

using namespace cuda;

__global__ void __launch_bounds__(kBlock, 1)
    decode_prepare_kernel(const uint8_t* lengths, int bins, const int32_t* sizes, int64_t n, int64_t payload_bytes,
                          const DecodeSpace space) {
  __shared__ Canonical canonical;
  make_canonical(lengths, bins, &canonical);
  const auto size = [&](int64_t c) { return static_cast<int64_t>(static_cast<uint32_t>(sizes[c])); };
  const bool chunks = find_chunks(n, payload_bytes, size, space.offset);
  const bool ok = chunks && canonical.complete && (n == 0 || canonical.used != 0);
  if (threadIdx.x == 0) {
    const bool narrow = narrow_table(bins, canonical.longest);
    const Tables tables = !ok ? Tables::none : narrow ? Tables::huffman16 : Tables::huffman32;
    *space.plan = {ok ? 0 : 1, tables, bins, canonical.longest, 0, {}};
  }
  if (ok && n != 0) make_decode_table(lengths, bins, canonical, space.order, space.table);
}

template <class Code>
__global__ void __launch_bounds__(kMaxChunkWarps* kWarp, kChunkBlocks)
    huffman_decode_kernel(const uint8_t* payload, int64_t n, const DecodeSpace space, Code* codes) {
  decode_all(payload, n, space, codes, [](uint32_t symbol) { return static_cast<Code>(symbol); });
}

}  // namespace

int64_t huffman_decode_workspace_bytes(int64_t n, int64_t bins) {
  Workspace space(nullptr);
  DecodeSpace(n, bins, &space);
  return space.bytes();
}

void huffman_decode_cuda(const uint8_t* payload, int64_t payload_bytes, const int32_t* sizes, int64_t n,
                         const uint8_t* lengths, int64_t bins, void* codes, void* workspace, int device, void* stream) {
  const char* op = "huffman_decode";
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  Workspace memory(workspace);
  const DecodeSpace space(n, bins, &memory);
  launch(op, decode_prepare_kernel, 1, kBlock, stream, lengths, static_cast<int>(bins), sizes, n, payload_bytes, space);
  if (n == 0) return;
  const ChunkLaunch chunks(n, device, op);
  const int shared = decode_shared_bytes(chunks.threads);
  if (bins <= 256) {
    launch_shared(op, huffman_decode_kernel<uint8_t>, chunks.blocks, chunks.threads, shared, stream, payload, n, space,
                  static_cast<uint8_t*>(codes));
  } else {
    launch_shared(op, huffman_decode_kernel<uint16_t>, chunks.blocks, chunks.threads, shared, stream, payload, n, space,
                  static_cast<uint16_t*>(codes));
  }
}

}  // namespace effdl

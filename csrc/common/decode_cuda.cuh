// Decoding all chunks of a stream: a kernel of one block prepares tables and offsets, the next one decodes.
#pragma once
#include "common/huffman_cuda.cuh"
#include "common/lanes_cuda.cuh"
#include "common/rans_cuda.cuh"

namespace effdl::cuda {

enum class Tables : int32_t { none, huffman16, huffman32, rans };  // none: there is nothing to decode

// At the start of a decoder's workspace.
struct DecodePlan {
  int32_t status;  // nonzero if anything is corrupt
  Tables tables;
  int32_t bins, longest;  // longest: bits of a Huffman table's index
  int64_t payload;        // where it begins, in the record
  Quantizer quantizer;
};

struct DecodeSpace {
  DecodePlan* plan;
  int64_t* offset;  // of chunks in the payload
  uint16_t* order;
  uint8_t* table;     // Huffman: T; rANS: the slots
  uint32_t* symbols;  // rANS
  DecodeSpace(int64_t n, int64_t bins, Workspace* space) {
    plan = space->take<DecodePlan>(1);
    offset = space->take<int64_t>(lanes::chunk_count(n) + 1);
    order = space->take<uint16_t>(bins);
    table = space->take<uint8_t>(kDecodeTableBytes);
    symbols = space->take<uint32_t>(bins);
  }
};

constexpr int kSharedRansBins = 8192;
static_assert(2 * kRansTotal + 4 * kSharedRansBins <= kSharedTableBytes && 2 * kRansTotal <= kDecodeTableBytes);

// Tables, then a ring per warp.
constexpr int decode_shared_bytes(int threads) { return kSharedTableBytes + threads / kWarp * kRingBytes; }

__device__ inline uint8_t* dynamic_shared() {
  extern __shared__ uint4 effdl_dynamic_shared[];
  return reinterpret_cast<uint8_t*>(effdl_dynamic_shared);
}

// By all threads of a block; up to the next multiple of 16 bytes, for which both have room.
__device__ inline void copy_to_shared(const void* from, void* to, int bytes) {
  for (int i = threadIdx.x; i < (bytes + 15) / 16; i += blockDim.x) {
    static_cast<uint4*>(to)[i] = static_cast<const uint4*>(from)[i];
  }
}

// out[i] = value(symbol i) for all n, by blocks with decode_shared_bytes().
template <class T, class Value>
__device__ inline void decode_all(const uint8_t* payload, int64_t n, const DecodeSpace& space, T* out,
                                  const Value& value) {
  const Tables tables = space.plan->tables;
  if (tables == Tables::none) return;
  const int bins = space.plan->bins, longest = space.plan->longest;
  uint8_t* shared = dynamic_shared();
  uint8_t* ring = shared + kSharedTableBytes + warp_id() * kRingBytes;
  const auto decode = [&](const auto& decoder) {
    for_each_chunk(n, [&](int64_t c) {
      const int64_t at = space.offset[c];
      const int bytes = static_cast<int>(space.offset[c + 1] - at);
      const bool ok =
          decode_chunk(payload + at, bytes, chunk_symbols(n, c), decoder, ring, out + c * lanes::kChunk, value);
      if (!ok && lane_id() == 0) space.plan->status = 1;
    });
  };
  if (tables == Tables::huffman16) {
    copy_to_shared(space.table, shared, least(2 << longest, kSharedTableBytes));
    __syncthreads();
    decode(HuffmanDecoder<uint16_t>{reinterpret_cast<const uint16_t*>(shared), (1u << longest) - 1u});
  } else if (tables == Tables::huffman32) {
    decode(HuffmanDecoder<uint32_t>{reinterpret_cast<const uint32_t*>(space.table), (1u << longest) - 1u});
  } else {
    const bool copied = bins <= kSharedRansBins;
    uint8_t* symbols = shared + 2 * kRansTotal;
    copy_to_shared(space.table, shared, 2 * kRansTotal);
    if (copied) copy_to_shared(space.symbols, symbols, 4 * bins);
    __syncthreads();
    decode(RansDecoder{reinterpret_cast<const uint16_t*>(shared),
                       copied ? reinterpret_cast<const uint32_t*>(symbols) : space.symbols});
  }
}

}  // namespace effdl::cuda

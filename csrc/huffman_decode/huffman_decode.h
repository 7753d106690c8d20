// Codes from the lane-interleaved Huffman stream of docs/format.md (thesis Algorithm 2).
// A decoder trusts nothing: whatever the bytes are, it reads inside the payload and writes inside its output.
#pragma once
#include <cstdint>

#include "common/huffman_code.h"
#include "common/lane_stream.h"
#include "common/simd.h"

namespace effdl {

namespace huffman_decode {
// Decodes up to `steps` steps of 32 symbols from each of `chunks` (1 or 2) chunks of 32 lanes, chunk c to out[c], and
// returns how many: it stops before a read could go beyond `limit`, the end of all readable memory.
struct Kernels {
  int64_t (*steps)(lanes::ChunkReader* chunks, int count, const huffman::DecodeTable& table, int64_t steps,
                   const uint8_t* limit, uint16_t* const* out);
};
extern const Kernels kernels_scalar, kernels_avx2, kernels_avx512;

// lanes::Coder::decode for a huffman::DecodeTable.
bool decode_tile(const void* table, lanes::ChunkReader* chunks, int count, int64_t symbols, const uint8_t* limit,
                 uint16_t* const* out);
}  // namespace huffman_decode

// `lengths` complete; codes: n, uint8 if code_bytes == 1. False if the stream is corrupt.
bool huffman_decode_cpu(const lanes::ChunkDirectory& directory, const uint8_t* lengths, int64_t bins, void* codes,
                        int code_bytes);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. sizes: int32 per chunk. codes: uint8 if bins <= 256, else uint16.
// workspace: huffman_decode_workspace_bytes(); its first int32 becomes nonzero if anything is corrupt (sizes that do
// not sum up, lengths that are not complete, a chunk that does not end where it should).
void huffman_decode_cuda(const uint8_t* payload, int64_t payload_bytes, const int32_t* sizes, int64_t n,
                         const uint8_t* lengths, int64_t bins, void* codes, void* workspace, int device, void* stream);
int64_t huffman_decode_workspace_bytes(int64_t n, int64_t bins);
#endif

}  // namespace effdl

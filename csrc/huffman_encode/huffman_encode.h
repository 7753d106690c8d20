// The lane-interleaved Huffman stream of docs/format.md from codes (thesis Algorithm 1, line 9).
#pragma once
#include <cstdint>

#include "common/huffman_code.h"
#include "common/lane_stream.h"
#include "common/simd.h"

namespace effdl {

namespace huffman_encode {
// Encodes `steps` steps of 32 symbols, given by their entries of huffman::encode_table, the last one first, below
// writer->words, of which lanes::kHeadroom bytes more may be overwritten. Returns the smallest entry: 0 if a symbol has
// no code word.
struct Kernels {
  uint32_t (*steps)(const uint32_t* entries, int64_t steps, lanes::ChunkWriter* writer);
};
extern const Kernels kernels_scalar, kernels_avx2, kernels_avx512;

// lanes::Coder::encode for tables of huffman::encode_table.
bool encode_tile(const void* table, const uint16_t* codes, int64_t count, lanes::ChunkWriter* writer);
}  // namespace huffman_encode

// `table` has an entry for every value that a uint8 code (code_bytes 1) or uint16 code may have. payload:
// lanes::stream_bound(n, longest) bytes; sizes: uint32 per chunk. Returns the payload's bytes, -1 if a code has no code
// word.
int64_t huffman_encode_cpu(const void* codes, int code_bytes, int64_t n, const uint32_t* table, int longest,
                           uint8_t* payload, uint8_t* sizes);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. codes: uint8 if bins <= 256, else uint16. payload:
// stream_bound(n, 16) bytes; sizes: int32 per chunk. A code without a code word, or lengths that are not complete, make
// every size -1.
void huffman_encode_cuda(const void* codes, int64_t n, const uint8_t* lengths, int64_t bins, uint8_t* payload,
                         int32_t* sizes, void* workspace, int device, void* stream);
int64_t huffman_encode_workspace_bytes(int64_t n, int64_t bins);
#endif

}  // namespace effdl

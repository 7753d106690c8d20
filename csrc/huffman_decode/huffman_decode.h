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
}  // namespace huffman_decode

// Where the chunks of a payload lie. `sizes` may have any alignment.
struct ChunkDirectory {
  const uint8_t* payload;
  int64_t payload_bytes;
  const uint8_t* sizes;  // uint32 per chunk
  int64_t n;             // symbols in all
};
// Whether the sizes are possible and sum up to the payload.
bool consistent(const ChunkDirectory& directory);

// Hands every chunk's symbols, in tiles of up to kQuantizeTile, to sink(context, first symbol, count, codes), from several
// threads. `lengths` complete, directory consistent. False if a chunk is corrupt (the sink may have got anything then).
using CodeSink = void (*)(void* context, int64_t first, int64_t count, const uint16_t* codes);
bool huffman_decode_cpu(const ChunkDirectory& directory, const uint8_t* lengths, int64_t bins, CodeSink sink,
                        void* context);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. sizes: int32 per chunk. codes: uint8 if bins <= 256, else uint16.
// workspace: huffman_decode_workspace_bytes(); its first int32 becomes nonzero if anything is corrupt (sizes that do not
// sum up, lengths that are not complete, a chunk that does not end where it should).
void huffman_decode_cuda(const uint8_t* payload, int64_t payload_bytes, const int32_t* sizes, int64_t n,
                         const uint8_t* lengths, int64_t bins, void* codes, void* workspace, int device, void* stream);
int64_t huffman_decode_workspace_bytes(int64_t n, int64_t bins);
#endif

}  // namespace effdl

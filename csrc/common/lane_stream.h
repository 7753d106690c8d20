// The chunked, lane-interleaved stream of docs/format.md: what its encoders and decoders, Huffman and rANS, agree on.
#pragma once
#include <cstdint>
#include <vector>

namespace effdl::lanes {

constexpr int kLanes = 32;
constexpr int kFewLanes = 4;              // of chunks below kFewLanesBelow: first states weigh less there
constexpr int64_t kFewLanesBelow = 4096;  // symbols
constexpr int kChunkLog2 = 15;
constexpr int64_t kChunk = int64_t{1} << kChunkLog2;  // symbols; the last chunk holds the rest
constexpr uint32_t kFirstState = uint32_t{1} << 16;   // of the encoder, so the last of the decoder
constexpr int kMaxCodeLength = 16;                    // a symbol takes one word at most

constexpr int64_t chunk_count(int64_t n) { return n / kChunk + (n % kChunk != 0 ? 1 : 0); }
constexpr int lanes_of(int64_t chunk_symbols) { return chunk_symbols < kFewLanesBelow ? kFewLanes : kLanes; }
// No chunk of this many symbols, each of at most `longest` bits, is larger.
constexpr int64_t chunk_bound(int64_t symbols, int longest) {
  return 4 * lanes_of(symbols) + 2 * ((symbols * longest + 15) / 16 + lanes_of(symbols));
}

// One chunk while it is read. `next` may have any alignment.
struct ChunkReader {
  uint32_t state[kLanes];
  const uint8_t* next;
  const uint8_t* end;  // of the chunk
  int lanes;
};
// One chunk while it is written, downwards from the end of a buffer.
struct ChunkWriter {
  uint32_t state[kLanes];
  uint8_t* words;  // lowest one written
  int lanes;
};
constexpr int64_t kHeadroom = 64;  // bytes below the words that vector stores may overwrite

// Where the chunks of a payload lie.
struct ChunkDirectory {
  const uint8_t* payload = nullptr;
  int64_t n = 0;                 // symbols in all
  std::vector<int64_t> offsets;  // of each chunk, and of the payload's end
};
// Reads `sizes`, uint32 per chunk of any alignment, once: what others write there later does no harm. False if the
// sizes are impossible or do not sum up to the payload.
bool read_directory(const uint8_t* payload, int64_t payload_bytes, const uint8_t* sizes, int64_t n,
                    ChunkDirectory* directory);

// Codes come from a source in chunks and go to a sink in tiles of up to kQuantizeTile, from several threads: symbols
// [first, first + count) are written to or read from `codes`.
using CodeSource = void (*)(void* context, int64_t first, int64_t count, uint16_t* codes);
using CodeSink = void (*)(void* context, int64_t first, int64_t count, const uint16_t* codes);

// An entropy coder of tiles that start with lane 0. encode: last symbol first; false if a code cannot be encoded.
// decode: the same tile of 1 or 2 chunks, chunk c to out[c]; reads nothing from `limit` on; false if a chunk has too
// few words.
struct Coder {
  const void* table;
  int longest;  // bits of a symbol at most
  bool (*encode)(const void* table, const uint16_t* codes, int64_t count, ChunkWriter* writer);
  bool (*decode)(const void* table, ChunkReader* chunks, int count, int64_t symbols, const uint8_t* limit,
                 uint16_t* const* out);
};

// No payload of n codes of at most `longest` bits is larger.
int64_t stream_bound(int64_t n, int longest);
// Writes the chunks to `payload` (stream_bound bytes) and their sizes to `sizes` (uint32 each, any alignment), on
// torch's threads. Returns the payload's bytes, or -1 if a code cannot be encoded.
int64_t encode_stream(int64_t n, const Coder& coder, CodeSource source, void* context, uint8_t* payload,
                      uint8_t* sizes);
// False if a chunk is corrupt; the sink may have got anything then.
bool decode_stream(const ChunkDirectory& directory, const Coder& coder, CodeSink sink, void* context);

}  // namespace effdl::lanes

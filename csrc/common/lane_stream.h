// The chunked, lane-interleaved stream of docs/format.md: what its encoders and decoders, Huffman and rANS, agree on.
#pragma once
#include <cstdint>

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
// Puts the first states into `reader`; false if the chunk's size is impossible.
bool open_chunk(const uint8_t* chunk, int64_t bytes, int64_t symbols, ChunkReader* reader);
// Whether every word was used and every state is back where the encoder began.
bool closed(const ChunkReader& reader);

// One chunk while it is written, downwards from `begin_of_words` = the end of a buffer.
struct ChunkWriter {
  uint32_t state[kLanes];
  uint8_t* words;  // lowest one written
  int lanes;
};
ChunkWriter new_chunk(uint8_t* end_of_buffer, int64_t symbols);
// States and words, to `out`; returns the chunk's bytes.
int64_t finish_chunk(const ChunkWriter& writer, const uint8_t* end_of_buffer, uint8_t* out);
constexpr int64_t kHeadroom = 64;  // bytes below the words that vector stores may overwrite

}  // namespace effdl::lanes

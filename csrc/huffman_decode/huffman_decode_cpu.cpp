// The scalar level, the run-time choice, threads, and the end of a stream, where every read is checked.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "common/parallel.h"
#include "common/quantizer.h"
#include "common/simd_lanes_scalar.h"
#include "huffman_decode/huffman_decode.h"
#define EFFDL_LEVEL scalar
#include "huffman_decode/huffman_decode_body.inl"

namespace effdl {

using lanes::ChunkReader;

namespace huffman_decode {

extern const Kernels kernels_scalar = scalar::huffman_decode_kernels();

namespace {

const Kernels& kernels() {
  static const Kernels* const levels[] = {&kernels_scalar, EFFDL_IF_X86(&kernels_avx2), EFFDL_IF_X86(&kernels_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

uint32_t size_of(const ChunkDirectory& directory, int64_t chunk) {
  uint32_t bytes;
  std::memcpy(&bytes, directory.sizes + 4 * chunk, sizeof(bytes));
  return bytes;
}

int64_t symbols_of(const ChunkDirectory& directory, int64_t chunk) {
  return std::min(lanes::kChunk, directory.n - chunk * lanes::kChunk);
}

// Any number of lanes and symbols; false if the chunk has no more words.
bool decode_checked(ChunkReader* chunk, const huffman::DecodeTable& table, int64_t symbols, uint16_t* out) {
  const uint32_t mask = (1u << table.bits) - 1u;
  for (int64_t i = 0; i < symbols; ++i) {
    uint32_t& x = chunk->state[i % chunk->lanes];
    const uint32_t entry = table.narrow ? table.entries16[x & mask] : table.entries32[x & mask];
    x >>= entry & 31;
    out[i] = static_cast<uint16_t>(entry >> 5);
    if (x < lanes::kFirstState) {
      if (chunk->end - chunk->next < 2) return false;
      uint16_t word;
      std::memcpy(&word, chunk->next, sizeof(word));
      chunk->next += 2;
      x = x << 16 | word;
    }
  }
  return true;
}

// The next `symbols` symbols of `count` (1 or 2) chunks.
bool decode_tile(ChunkReader* chunks, int count, const huffman::DecodeTable& table, int64_t symbols,
                 const uint8_t* limit, uint16_t* const* out) {
  int64_t done = 0;
  if (chunks[0].lanes == lanes::kLanes) {
    done = lanes::kLanes * kernels().steps(chunks, count, table, symbols / lanes::kLanes, limit, out);
  }
  bool ok = true;
  for (int c = 0; c < count; ++c) ok = ok && decode_checked(chunks + c, table, symbols - done, out[c] + done);
  return ok;
}

// `count` neighbouring chunks with equally many symbols.
bool decode_chunks(const ChunkDirectory& directory, int64_t chunk, int count, const uint8_t* data,
                   const huffman::DecodeTable& table, CodeSink sink, void* context) {
  const uint8_t* limit = directory.payload + directory.payload_bytes;
  const int64_t symbols = symbols_of(directory, chunk);
  ChunkReader readers[2];
  for (int c = 0; c < count; ++c) {
    const uint32_t bytes = size_of(directory, chunk + c);
    if (!lanes::open_chunk(data, bytes, symbols, &readers[c])) return false;
    data += bytes;
  }
  uint16_t tiles[2][kQuantizeTile];
  uint16_t* const out[2] = {tiles[0], tiles[1]};
  for (int64_t from = 0; from < symbols; from += kQuantizeTile) {
    const int64_t length = std::min(kQuantizeTile, symbols - from);
    if (!decode_tile(readers, count, table, length, limit, out)) return false;
    for (int c = 0; c < count; ++c) sink(context, (chunk + c) * lanes::kChunk + from, length, tiles[c]);
  }
  return lanes::closed(readers[0]) && (count == 1 || lanes::closed(readers[1]));
}

}  // namespace
}  // namespace huffman_decode

bool consistent(const ChunkDirectory& directory) {
  int64_t sum = 0;
  for (int64_t c = 0; c < lanes::chunk_count(directory.n); ++c) {
    const int64_t bytes = huffman_decode::size_of(directory, c), symbols = huffman_decode::symbols_of(directory, c);
    if (bytes % 2 != 0 || bytes < 4 * lanes::lanes_of(symbols)) return false;
    if (bytes > lanes::chunk_bound(symbols, lanes::kMaxCodeLength)) return false;
    sum += bytes;
  }
  return sum == directory.payload_bytes;
}

bool huffman_decode_cpu(const ChunkDirectory& directory, const uint8_t* lengths, int64_t bins, CodeSink sink,
                        void* context) {
  using namespace huffman_decode;
  record_kernel("huffman_decode", simd_name(simd_level()));
  if (directory.n == 0) return true;
  const huffman::DecodeTable table = huffman::decode_table(lengths, bins);
  if (table.bits == 0) return false;  // symbols, but no code for any
  std::atomic<bool> ok{true};
  auto body = [&](int64_t begin, int64_t end) {
    const uint8_t* data = directory.payload;
    for (int64_t c = 0; c < begin; ++c) data += size_of(directory, c);
    for (int64_t c = begin; c < end;) {
      const bool pair = c + 1 < end && symbols_of(directory, c + 1) == lanes::kChunk;
      const int count = pair ? 2 : 1;
      if (!decode_chunks(directory, c, count, data, table, sink, context)) {
        ok = false;
        return;
      }
      for (int i = 0; i < count; ++i) data += size_of(directory, c + i);
      c += count;
    }
  };
  parallel_for(0, lanes::chunk_count(directory.n), 2, body);
  return ok;
}

}  // namespace effdl

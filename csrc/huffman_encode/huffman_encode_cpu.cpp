// The scalar level, the run-time choice, threads, and chunks that do not fill all lanes.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "common/parallel.h"
#include "common/simd_lanes_scalar.h"
#include "huffman_encode/huffman_encode.h"
#define EFFDL_LEVEL scalar
#include "huffman_encode/huffman_encode_body.inl"

namespace effdl {

using lanes::ChunkWriter;

namespace huffman_encode {

extern const Kernels kernels_scalar = scalar::huffman_encode_kernels();

namespace {

const Kernels& kernels() {
  static const Kernels* const levels[] = {&kernels_scalar, EFFDL_IF_X86(&kernels_avx2), EFFDL_IF_X86(&kernels_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

// The last `symbols` symbols of a chunk or of a part that starts with lane 0, for any number of lanes.
uint32_t encode_any(const uint16_t* codes, int64_t symbols, const uint32_t* table, ChunkWriter* writer) {
  uint32_t least = 0xffffffffu;
  for (int64_t i = symbols - 1; i >= 0; --i) {
    uint32_t& x = writer->state[i % writer->lanes];
    const uint32_t entry = table[codes[i]];
    least = std::min(least, entry);
    x = scalar::push(x, entry, &writer->words);
  }
  return least;
}

// Chunks one after the other into `out`; a thread's own buffer holds the one at hand.
struct Encoder {
  const uint32_t* table;
  CodeSource source;
  void* context;
  std::unique_ptr<uint8_t[]> buffer;
  uint8_t* end_of_buffer;

  Encoder(const uint32_t* t, int longest, int64_t symbols, CodeSource s, void* c) : table(t), source(s), context(c) {
    const int64_t bytes = lanes::kHeadroom + lanes::chunk_bound(std::min(symbols, lanes::kChunk), longest);
    buffer.reset(new uint8_t[static_cast<size_t>(bytes)]);
    end_of_buffer = buffer.get() + bytes;
  }

  // Returns the chunk's bytes, -1 if a code has no code word.
  int64_t encode(int64_t first, int64_t symbols, uint8_t* out) {
    ChunkWriter writer = lanes::new_chunk(end_of_buffer, symbols);
    uint16_t tile[kQuantizeTile];
    for (int64_t end = symbols; end > 0;) {
      const int64_t begin = (end - 1) / kQuantizeTile * kQuantizeTile, count = end - begin;
      source(context, first + begin, count, tile);
      const int64_t whole = writer.lanes == lanes::kLanes ? count / lanes::kLanes * lanes::kLanes : 0;
      uint32_t least = encode_any(tile + whole, count - whole, table, &writer);
      if (whole != 0) least = std::min(least, kernels().steps(tile, whole / lanes::kLanes, table, &writer));
      if (least == 0) return -1;
      end = begin;
    }
    return lanes::finish_chunk(writer, end_of_buffer, out);
  }
};

struct Part {
  int64_t first_chunk, begin, bytes;  // begin: in the payload, before parts are moved together
};

}  // namespace
}  // namespace huffman_encode

int64_t huffman_bound(int64_t n, int longest) {
  const int64_t rest = n % lanes::kChunk;
  return n / lanes::kChunk * lanes::chunk_bound(lanes::kChunk, longest) +
         (rest == 0 ? 0 : lanes::chunk_bound(rest, longest));
}

int64_t huffman_encode_cpu(int64_t n, const uint32_t* table, int longest, CodeSource source, void* context,
                           uint8_t* payload, uint8_t* sizes) {
  using namespace huffman_encode;
  record_kernel("huffman_encode", simd_name(simd_level()));
  if (n == 0) return 0;
  std::atomic<bool> ok{true};
  std::mutex mutex;
  std::vector<Part> parts;  // one per range of chunks, each written at its bound, without gaps inside
  auto body = [&](int64_t begin, int64_t end) {
    Encoder encoder(table, longest, n - begin * lanes::kChunk, source, context);
    const int64_t start = begin * lanes::chunk_bound(lanes::kChunk, longest);
    uint8_t* to = payload + start;
    for (int64_t c = begin; c < end; ++c) {
      const int64_t bytes = encoder.encode(c * lanes::kChunk, std::min(lanes::kChunk, n - c * lanes::kChunk), to);
      if (bytes < 0) {
        ok = false;
        return;
      }
      const uint32_t size = static_cast<uint32_t>(bytes);
      std::memcpy(sizes + 4 * c, &size, sizeof(size));
      to += bytes;
    }
    const std::lock_guard<std::mutex> lock(mutex);
    parts.push_back({begin, start, to - (payload + start)});
  };
  parallel_for(0, lanes::chunk_count(n), 2, body);
  if (!ok) return -1;
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.first_chunk < b.first_chunk; });
  int64_t total = 0;
  for (const Part& part : parts) {
    if (part.begin != total) std::memmove(payload + total, payload + part.begin, static_cast<size_t>(part.bytes));
    total += part.bytes;
  }
  return total;
}

}  // namespace effdl

#include "common/lane_stream.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <vector>

#include "common/exact_floats.h"
#include "common/large_output.h"
#include "common/parallel.h"
#include "common/quantizer.h"

namespace effdl::lanes {
namespace {

constexpr int64_t kGrain = 2;  // chunks that are worth a thread; decoders take two at a time

int64_t symbols_of(int64_t n, int64_t chunk) { return std::min(kChunk, n - chunk * kChunk); }

// ---- writing ----

// Encodes chunks one by one in a buffer of its own, since words are written downwards.
class ChunkEncoder {
 public:
  ChunkEncoder(const Coder& coder, int64_t largest_chunk, CodeSource source, void* context)
      : coder_(coder), source_(source), context_(context) {
    const int64_t bytes = kHeadroom + chunk_bound(largest_chunk, coder.longest);
    buffer_.reset(new uint8_t[static_cast<size_t>(bytes)]);
    end_ = buffer_.get() + bytes;
    codes_.reset(new uint16_t[static_cast<size_t>(largest_chunk)]);
  }

  // Returns the chunk's bytes, -1 if a code cannot be encoded.
  int64_t encode(int64_t first, int64_t symbols, uint8_t* out) {
    ChunkWriter writer;
    for (uint32_t& x : writer.state) x = kFirstState;
    writer.words = end_;
    writer.lanes = lanes_of(symbols);
    source_(context_, first, symbols, codes_.get());  // the whole chunk at once: memory is read forwards
    for (int64_t end = symbols; end > 0;) {
      const int64_t begin = (end - 1) / kQuantizeTile * kQuantizeTile;
      if (!coder_.encode(coder_.table, codes_.get() + begin, end - begin, &writer)) return -1;
      end = begin;
    }
    const size_t states = 4 * static_cast<size_t>(writer.lanes), words = static_cast<size_t>(end_ - writer.words);
    std::memcpy(out, writer.state, states);
    std::memcpy(out + states, writer.words, words);
    return static_cast<int64_t>(states + words);
  }

 private:
  const Coder& coder_;
  CodeSource source_;
  void* context_;
  std::unique_ptr<uint8_t[]> buffer_;
  std::unique_ptr<uint16_t[]> codes_;
  uint8_t* end_;
};

// What one thread wrote: chunks without gaps between them, but with a gap before the first.
struct Part {
  int64_t first_chunk, begin, bytes;
};

int64_t move_together(std::vector<Part>* parts, uint8_t* payload) {
  std::sort(parts->begin(), parts->end(), [](const Part& a, const Part& b) { return a.first_chunk < b.first_chunk; });
  int64_t total = 0;
  for (const Part& part : *parts) {
    if (part.begin != total) std::memmove(payload + total, payload + part.begin, static_cast<size_t>(part.bytes));
    total += part.bytes;
  }
  return total;
}

// ---- reading ----

// Puts the first states into `reader`; false if one is impossible.
bool open_chunk(const uint8_t* chunk, int64_t bytes, int64_t symbols, ChunkReader* reader) {
  reader->lanes = lanes_of(symbols);
  const int64_t states = 4 * reader->lanes;
  std::memcpy(reader->state, chunk, static_cast<size_t>(states));
  reader->next = chunk + states;
  reader->end = chunk + bytes;
  return std::all_of(reader->state, reader->state + reader->lanes, [](uint32_t x) { return x >= kFirstState; });
}

// Whether every word was used and every state is back where the encoder began.
bool closed(const ChunkReader& reader) {
  return reader.next == reader.end &&
         std::all_of(reader.state, reader.state + reader.lanes, [](uint32_t x) { return x == kFirstState; });
}

// `count` neighbouring chunks with equally many symbols.
bool decode_chunks(const ChunkDirectory& directory, int64_t chunk, int count, const Coder& coder, CodeSink sink,
                   void* context) {
  const uint8_t* limit = directory.payload + directory.offsets.back();
  const int64_t symbols = symbols_of(directory.n, chunk);
  ChunkReader readers[2];
  for (int c = 0; c < count; ++c) {
    const int64_t* offset = directory.offsets.data() + chunk + c;
    if (!open_chunk(directory.payload + offset[0], offset[1] - offset[0], symbols, &readers[c])) return false;
  }
  uint16_t tiles[2][kQuantizeTile];
  uint16_t* const out[2] = {tiles[0], tiles[1]};
  for (int64_t from = 0; from < symbols; from += kQuantizeTile) {
    const int64_t length = std::min(kQuantizeTile, symbols - from);
    if (!coder.decode(coder.table, readers, count, length, limit, out)) return false;
    for (int c = 0; c < count; ++c) sink(context, (chunk + c) * kChunk + from, length, tiles[c]);
  }
  return closed(readers[0]) && (count == 1 || closed(readers[1]));
}

}  // namespace

int64_t stream_bound(int64_t n, int longest) {
  const int64_t rest = n % kChunk;
  return n / kChunk * chunk_bound(kChunk, longest) + (rest == 0 ? 0 : chunk_bound(rest, longest));
}

int64_t encode_stream(int64_t n, const Coder& coder, CodeSource source, void* context, uint8_t* payload,
                      uint8_t* sizes) {
  std::atomic<bool> ok{true};
  std::mutex mutex;
  std::vector<Part> parts;
  expect_output(payload, stream_bound(n, coder.longest));
  auto body = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    ChunkEncoder encoder(coder, symbols_of(n, begin), source, context);
    const int64_t start = begin * chunk_bound(kChunk, coder.longest);
    uint8_t* to = payload + start;
    for (int64_t c = begin; c < end; ++c) {
      const int64_t bytes = encoder.encode(c * kChunk, symbols_of(n, c), to);
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
  parallel_for(0, chunk_count(n), kGrain, body);
  return ok ? move_together(&parts, payload) : -1;
}

bool read_directory(const uint8_t* payload, int64_t payload_bytes, const uint8_t* sizes, int64_t n,
                    ChunkDirectory* directory) {
  const int64_t chunks = chunk_count(n);
  directory->payload = payload;
  directory->n = n;
  directory->offsets.assign(static_cast<size_t>(chunks) + 1, 0);
  int64_t* offset = directory->offsets.data();
  for (int64_t c = 0; c < chunks; ++c) {
    uint32_t stored;
    std::memcpy(&stored, sizes + 4 * c, sizeof(stored));
    const int64_t bytes = stored, symbols = symbols_of(n, c);
    if (bytes % 2 != 0 || bytes < 4 * lanes_of(symbols) || bytes > chunk_bound(symbols, kMaxCodeLength)) return false;
    offset[c + 1] = offset[c] + bytes;
  }
  return offset[chunks] == payload_bytes;
}

bool decode_stream(const ChunkDirectory& directory, const Coder& coder, CodeSink sink, void* context) {
  std::atomic<bool> ok{true};
  auto body = [&](int64_t begin, int64_t end) {
    const ExactFloats exact;
    for (int64_t c = begin; c < end && ok;) {
      const int count = c + 1 < end && symbols_of(directory.n, c + 1) == kChunk ? 2 : 1;
      if (!decode_chunks(directory, c, count, coder, sink, context)) ok = false;
      c += count;
    }
  };
  parallel_for(0, chunk_count(directory.n), kGrain, body);
  return ok;
}

}  // namespace effdl::lanes

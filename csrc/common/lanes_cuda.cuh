// The lane-interleaved stream of docs/format.md on the device: a warp takes a chunk, a thread takes a lane.
#pragma once
#include "common/lane_stream.h"
#include "common/weights_cuda.cuh"

namespace effdl::cuda {

constexpr int kMaxChunkWarps = 16;  // of a block
constexpr int kChunkBlocks = 2;     // on a multiprocessor: shared memory has room for no more

// Chunks are few: up to kMaxChunkWarps a block, but first one for every multiprocessor.
struct ChunkLaunch {
  int blocks, threads;
  ChunkLaunch(int64_t n, int device, const char* op) {
    const int64_t chunks = lanes::chunk_count(n), processors = multiprocessors(device, op);
    const int64_t warps = least<int64_t>(ceil_div(chunks, processors), kMaxChunkWarps);
    threads = static_cast<int>(warps) * kWarp;
    blocks = static_cast<int>(least(ceil_div(chunks, warps), kChunkBlocks * processors));
  }
};

// f(chunk) for every chunk, once over the grid, by whole warps.
template <class F>
__device__ inline void for_each_chunk(int64_t n, F f) {
  for (int64_t c = grid_thread() / kWarp; c < lanes::chunk_count(n); c += grid_threads() / kWarp) f(c);
}
__device__ inline int chunk_symbols(int64_t n, int64_t chunk) {
  return static_cast<int>(least(n - chunk * lanes::kChunk, lanes::kChunk));
}

// ---- entropy coders, as the stream asks for them ----

// Tables hold an entry per symbol, 0 where it has no code. kNothing is the entry that leaves every state as it is.

// length << 16 | code
struct HuffmanEncoder {
  static constexpr uint32_t kNothing = 0;
  const uint32_t* table;
  static __device__ bool full(uint32_t x, uint32_t entry) { return x >> 16 >= 1u << (16 - (entry >> 16)); }
  static __device__ uint32_t push(uint32_t x, uint32_t entry) { return x << (entry >> 16) | (entry & 0xffff); }
};

// frequency << 16 | cumulative
struct RansEncoder {
  static constexpr uint32_t kNothing = 1u << 30;
  const uint32_t* table;
  static __device__ bool full(uint32_t x, uint32_t entry) { return x >> 18 >= entry >> 16; }
  static __device__ uint32_t push(uint32_t x, uint32_t entry) {
    const uint32_t f = entry >> 16, quotient = x / f;
    return (quotient << 14) + (x - quotient * f) + (entry & 0xffff);
  }
};

// Table entries: symbol << 5 | length.
template <class Entry>
struct HuffmanDecoder {
  const Entry* table;
  uint32_t mask;
  __device__ uint32_t pop(uint32_t* x) const {
    const uint32_t e = table[*x & mask];
    *x >>= e & 31;
    return e >> 5;
  }
};

struct RansDecoder {
  const uint16_t* slots;    // symbol of each
  const uint32_t* symbols;  // frequency << 16 | cumulative
  __device__ uint32_t pop(uint32_t* x) const {
    const uint32_t slot = *x & 16383, symbol = slots[slot], entry = symbols[symbol];
    *x = (entry >> 16) * (*x >> 14) + slot - (entry & 0xffff);
    return symbol;
  }
};

// ---- encoding ----

// Where chunks lie between being encoded and being moved together; the workspace of an encoder.
struct ChunkScratch {
  uint16_t* words;   // of chunk c: the last `count[c]` of its chunk_symbols() from c * kChunk on
  uint32_t* states;  // kLanes per chunk
  int32_t* count;    // of words, per chunk
  int64_t* offset;   // in the payload, per chunk
  int* bad;          // nonzero if a code has no code word
  ChunkScratch(int64_t n, Workspace* space) {
    const int64_t chunks = lanes::chunk_count(n);
    words = space->take<uint16_t>(n);
    states = space->take<uint32_t>(lanes::kLanes * chunks);
    count = space->take<int32_t>(chunks);
    offset = space->take<int64_t>(chunks);
    bad = space->take<int>(1);
  }
};

constexpr int kSharedCodes = 4096;

// A table of `bins` entries from where it is read fastest: `shared`, of kSharedCodes, if it fits. All threads of a
// block.
__device__ inline const uint32_t* nearest_table(const uint32_t* table, int bins, uint32_t* shared) {
  if (bins > kSharedCodes) return table;
  for (int i = threadIdx.x; i < bins; i += blockDim.x) shared[i] = table[i];
  __syncthreads();
  return shared;
}

// Encodes a chunk of n codes, the last one first. A symbol takes a word at most, so the words may overwrite uint16
// codes: scratch.words == codes. Codes from `bins` on have no code word.
template <class Code, class Encoder>
__device__ inline void encode_chunk(const Code* all, int64_t n, int64_t chunk, uint32_t bins, const Encoder& encoder,
                                    const ChunkScratch& scratch) {
  constexpr int kAhead = 8;  // steps whose codes are fetched while as many are encoded
  const Code* codes = all + chunk * lanes::kChunk;
  uint16_t* words = scratch.words + chunk * lanes::kChunk;
  const int symbols = chunk_symbols(n, chunk), lanes = lanes::lanes_of(symbols), lane = lane_id();
  const int end = lane < lanes ? symbols : 0;  // this thread's symbols are below it
  uint32_t x = lanes::kFirstState;
  bool ok = true;
  int used = 0;
  int step = (symbols - 1) / lanes;
  constexpr uint32_t kNone = 0xffffffffu;  // no symbol
  uint32_t next[kAhead];
  const auto fetch = [&](int from) {
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const int i = (from - j) * lanes + lane;
      next[j] = i >= 0 && i < end ? codes[i] : kNone;
    }
  };
  fetch(step);
  for (; step >= 0; step -= kAhead) {
    uint32_t entry[kAhead];
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const uint32_t found = next[j] < bins ? encoder.table[next[j]] : 0;
      ok = ok && (found != 0 || next[j] == kNone);
      entry[j] = found != 0 ? found : Encoder::kNothing;
    }
    fetch(step - kAhead);
#pragma unroll
    for (int j = 0; j < kAhead; ++j) {
      const bool full = Encoder::full(x, entry[j]);
      const unsigned vote = __ballot_sync(kAllLanes, full);
      used += __popc(vote);
      if (full) words[symbols - used + __popc(vote & lanes_below())] = static_cast<uint16_t>(x);
      x = Encoder::push(full ? x >> 16 : x, entry[j]);
    }
  }
  scratch.states[chunk * lanes::kLanes + lane] = x;
  if (lane == 0) scratch.count[chunk] = used;
  if (!ok) *scratch.bad = 1;
}

// One block of kBlock: sizes and offsets of all chunks from their words; all sizes -1 if a code was bad. Returns the
// payload's bytes.
__device__ inline int64_t place_chunks(int64_t n, const ChunkScratch& scratch, int32_t* sizes) {
  const bool bad = *scratch.bad != 0;
  int64_t begin = 0;
  for (int64_t first = 0; first < lanes::chunk_count(n); first += kBlock) {
    const int64_t c = first + threadIdx.x;
    const bool mine = c < lanes::chunk_count(n);
    const int64_t size = mine ? 4 * lanes::lanes_of(chunk_symbols(n, c)) + 2 * scratch.count[c] : 0;
    int64_t total;
    const int64_t before = block_scan(size, &total);
    if (mine) scratch.offset[c] = begin + before;
    if (mine) sizes[c] = bad ? -1 : static_cast<int32_t>(size);
    begin += total;
  }
  return begin;
}

// Blocks move chunks to their place in the payload, which is at a multiple of 2: 4 bytes at a time, first a lone 2
// where the place asks for it.
__device__ inline void gather_chunks(int64_t n, const ChunkScratch& scratch, uint8_t* payload) {
  if (*scratch.bad != 0) return;
  for (int64_t c = blockIdx.x; c < lanes::chunk_count(n); c += gridDim.x) {
    const int symbols = chunk_symbols(n, c), halves = 2 * lanes::lanes_of(symbols), count = scratch.count[c];
    const uint32_t* states = scratch.states + c * lanes::kLanes;
    const uint16_t* words = scratch.words + c * lanes::kChunk + symbols - count;
    const auto part = [&](int i) -> uint32_t {  // the chunk in 16-bit parts
      return i < halves ? states[i / 2] >> (16 * (i % 2)) & 0xffff : words[i - halves];
    };
    auto* out = reinterpret_cast<uint16_t*>(payload + scratch.offset[c]);
    const int parts = halves + count, head = reinterpret_cast<uintptr_t>(out) % 4 == 0 ? 0 : 1;
    for (int i = head + 2 * static_cast<int>(threadIdx.x); i + 1 < parts; i += 2 * static_cast<int>(blockDim.x)) {
      *reinterpret_cast<uint32_t*>(out + i) = part(i) | part(i + 1) << 16;
    }
    if (threadIdx.x == 0 && head == 1) out[0] = static_cast<uint16_t>(part(0));
    if (threadIdx.x == 0 && (parts - head) % 2 != 0) out[parts - 1] = static_cast<uint16_t>(part(parts - 1));
  }
}

// ---- decoding ----

// Offsets of all chunks, one more than there are, from sizes that size(c) gives. One block of kBlock; false, for all of
// its threads, unless the sizes are possible and sum up to the payload.
template <class Size>
__device__ inline bool find_chunks(int64_t n, int64_t payload_bytes, const Size& size, int64_t* offset) {
  int64_t begin = 0;
  bool ok = true;
  for (int64_t first = 0; first < lanes::chunk_count(n); first += kBlock) {
    const int64_t c = first + threadIdx.x;
    const bool mine = c < lanes::chunk_count(n);
    const int64_t bytes = mine ? size(c) : 0;
    if (mine) {
      const int symbols = chunk_symbols(n, c);
      ok = ok && bytes % 2 == 0 && bytes >= 4 * lanes::lanes_of(symbols) &&
           bytes <= lanes::chunk_bound(symbols, lanes::kMaxCodeLength);
    }
    int64_t total;
    const int64_t before = block_scan(bytes, &total);
    if (mine) offset[c] = begin + before;
    begin += total;
  }
  if (threadIdx.x == 0) offset[lanes::chunk_count(n)] = begin;
  return __syncthreads_and(ok && begin == payload_bytes) != 0;
}

// The words of a chunk come through a ring in shared memory: fetched far ahead, 128 at a time, since a step waits for
// its words. The bytes may have any alignment; none beyond the chunk is read.
constexpr int kSegment = 128, kRingBytes = 2 * 2 * kSegment;

class WordRing {
 public:
  // All lanes of a warp; `ring` is the warp's own.
  __device__ WordRing(const uint8_t* bytes, int words, uint8_t* ring) : bytes_(bytes), ring_(ring), words_(words) {
#pragma unroll 1
    for (unsigned s = 0; s < 3; ++s) {
      if (s != 0) put(s - 1);
      fetch(s);
    }
    __syncwarp();
  }
  // The word `ahead` (0 to 31) after the next one; 0 after the end.
  __device__ uint32_t peek(int ahead) const {
    return *reinterpret_cast<const uint16_t*>(ring_ + (at_ + 2 * static_cast<unsigned>(ahead)) % unsigned{kRingBytes});
  }
  // All lanes: `count` (0 to 32) words are used up.
  __device__ void advance(int count) {
    at_ += 2 * static_cast<unsigned>(count);
    if (at_ / unsigned{2 * kSegment} == segment_) return;
    __syncwarp();  // everybody has read from the segment that is overwritten
    put(segment_ + 2);
    ++segment_;
    fetch(segment_ + 2);
    __syncwarp();
  }
  __device__ int used() const { return static_cast<int>(at_ / 2); }

 private:
  __device__ void fetch(unsigned segment) {
#pragma unroll
    for (int j = 0; j < kSegment / kWarp; ++j) {
      const int i = static_cast<int>(segment) * kSegment + j * kWarp + lane_id();
      fetched_[j] = i < words_ ? read_word(bytes_, i) : 0;
    }
  }
  __device__ void put(unsigned segment) {
    auto* to = reinterpret_cast<uint16_t*>(ring_) + segment % 2 * unsigned{kSegment} + lane_id();
#pragma unroll
    for (int j = 0; j < kSegment / kWarp; ++j) to[j * kWarp] = static_cast<uint16_t>(fetched_[j]);
  }

  const uint8_t* bytes_;
  uint8_t* ring_;
  int words_;
  uint32_t fetched_[kSegment / kWarp];
  unsigned at_ = 0,
           segment_ = 0;  // in bytes; the ring holds segment_ and the one after it, fetched_ the one after that
};

// Decodes a chunk of at least its first states to out[i] = value(symbol i). False, for all lanes, if it does not end as
// it must.
template <class Decoder, class T, class Value>
__device__ inline bool decode_chunk(const uint8_t* chunk, int bytes, int symbols, const Decoder& decoder, uint8_t* ring,
                                    T* out, const Value& value) {
  const int lanes = lanes::lanes_of(symbols), lane = lane_id(), words = bytes / 2 - 2 * lanes;
  WordRing stream(chunk + 4 * lanes, words, ring);
  uint32_t x = lanes::kFirstState;
  if (lane < lanes) x = read_word(chunk, 2 * lane) | read_word(chunk, 2 * lane + 1) << 16;
  const bool whole = x >= lanes::kFirstState;
  const int end = lane < lanes ? symbols : 0;  // this thread's symbols are below it
  const unsigned below = lanes_below();
  out += lane;
#pragma unroll 1  // every step waits for the one before it
  for (int i = lane; i - lane < symbols; i += lanes, out += lanes) {
    uint32_t symbol = 0;
    if (i < end) symbol = decoder.pop(&x);
    const bool low = x < lanes::kFirstState;  // never without a symbol, unless the first state was bad
    const unsigned vote = __ballot_sync(kAllLanes, low);
    const uint32_t word = stream.peek(__popc(vote & below));
    x = low ? x << 16 | word : x;
    stream.advance(__popc(vote));
    if (i < end) *out = value(symbol);
  }
  return __all_sync(kAllLanes, whole && x == lanes::kFirstState && stream.used() == words) != 0;
}

}  // namespace effdl::cuda

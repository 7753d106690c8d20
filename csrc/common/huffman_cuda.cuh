// Canonical Huffman codes on the device, by one block of kBlock: the tables of the stream's two ends (docs/format.md).
#pragma once
#include "common/lane_stream.h"
#include "common/weights_cuda.cuh"

namespace effdl::cuda {

constexpr int kLongest = lanes::kMaxCodeLength;

// What follows from the number of codes of each length; in shared memory.
struct Canonical {
  int count[kLongest + 1];
  int start[kLongest + 1];       // of a length's first symbol among all in the order of the codes
  uint32_t first[kLongest + 1];  // code of each length
  int used, shortest, longest;   // shortest and longest: 0 if nothing is used
  bool complete;                 // a Kraft sum of 1, one symbol of length 1, or nothing used
};

__device__ inline void finish_canonical(Canonical* c, bool too_long) {
  uint32_t next = 0, kraft = 0;
  c->used = c->shortest = c->longest = 0;
  for (int l = 1; l <= kLongest; ++l) {
    next <<= 1;
    c->first[l] = next;
    c->start[l] = c->used;
    next += static_cast<uint32_t>(c->count[l]);
    kraft += static_cast<uint32_t>(c->count[l]) << (kLongest - l);  // at most 2^16 symbols of 2^15: 32 bits hold it
    c->used += c->count[l];
    if (c->count[l] != 0) c->longest = l;
    if (c->count[l] != 0 && c->shortest == 0) c->shortest = l;
  }
  c->complete = !too_long && (c->used == 0 || (c->used == 1 && c->count[1] == 1) || kraft == 1u << kLongest);
}

// lengths: `bins` of anything.
__device__ inline void make_canonical(const uint8_t* lengths, int bins, Canonical* c) {
  __shared__ int too_long;
  if (threadIdx.x <= kLongest) c->count[threadIdx.x] = 0;
  if (threadIdx.x == 0) too_long = 0;
  __syncthreads();
  for (int begin = 0; begin < bins; begin += kBlock) {
    const int s = begin + static_cast<int>(threadIdx.x), length = s < bins ? lengths[s] : 0;
    const unsigned peers = __match_any_sync(kAllLanes, length);
    if (length == 0 || (peers & lanes_below()) != 0) continue;  // the first of equals counts for all
    if (length > kLongest) {
      too_long = 1;
    } else {
      atomicAdd(&c->count[length], __popc(peers));
    }
  }
  __syncthreads();
  if (threadIdx.x == 0) finish_canonical(c, too_long != 0);
  __syncthreads();
}

// f(symbol, length, rank) for every used symbol, rank being the number of smaller symbols of the same length. All
// lengths at most kLongest.
template <class F>
__device__ inline void for_each_ranked(const uint8_t* lengths, int bins, F f) {
  __shared__ int before[kWarps][kLongest + 1];  // of each length: in a warp, then in all warps before
  __shared__ int seen[kLongest + 1];            // in all rounds before
  if (threadIdx.x <= kLongest) seen[threadIdx.x] = 0;
  for (int begin = 0; begin < bins; begin += kBlock) {
    const int s = begin + static_cast<int>(threadIdx.x), length = s < bins ? lengths[s] : 0;
    const unsigned peers = __match_any_sync(kAllLanes, length);
    const int in_warp = __popc(peers & lanes_below());
    if (lane_id() <= kLongest) before[warp_id()][lane_id()] = 0;
    __syncwarp();
    if (in_warp == 0) before[warp_id()][length] = __popc(peers);
    __syncthreads();
    if (warp_id() <= kLongest) {  // warp l adds up length l
      const int own = before[lane_id()][warp_id()], sum = warp_scan(own), earlier = seen[warp_id()];
      before[lane_id()][warp_id()] = earlier + sum - own;
      __syncwarp();
      if (lane_id() == kWarp - 1) seen[warp_id()] = earlier + sum;
    }
    __syncthreads();
    if (length != 0) f(s, length, before[warp_id()][length] + in_warp);  // of its own warp: no barrier after it
  }
}

// Per symbol its bit-reversed code in the low half and its length in the high half; 0 for unused symbols.
__device__ inline void make_encode_table(const uint8_t* lengths, int bins, const Canonical& c, uint32_t* table) {
  for (int s = threadIdx.x; s < bins; s += kBlock) table[s] = 0;
  __syncthreads();
  for_each_ranked(lengths, bins, [&](int symbol, int length, int rank) {
    const uint32_t code = c.first[length] + static_cast<uint32_t>(rank);
    table[symbol] = __brev(code) >> (32 - length) | static_cast<uint32_t>(length) << 16;
  });
}

// T of docs/format.md, entries symbol << 5 | length: 16 bits wide if symbols fit and the table fits in shared memory.
constexpr int kSharedTableBytes = 64 * 1024;
constexpr int kNarrowBins = 1 << 11;
__host__ __device__ constexpr bool narrow_table(int bins, int longest) {
  return bins <= kNarrowBins && 2 << longest <= kSharedTableBytes;
}
constexpr int64_t kDecodeTableBytes = int64_t{4} << kLongest;  // the largest

// For complete lengths of at least one symbol. order: scratch for `bins` symbols; table: kDecodeTableBytes.
__device__ inline void make_decode_table(const uint8_t* lengths, int bins, const Canonical& c, uint16_t* order,
                                         void* table) {
  __shared__ uint32_t end[kLongest + 1];  // of a length's codes, padded to kLongest bits
  if (threadIdx.x <= kLongest) {
    const int l = static_cast<int>(threadIdx.x);
    end[l] = l == 0 ? 0 : (c.first[l] + static_cast<uint32_t>(c.count[l])) << (kLongest - l);
  }
  for_each_ranked(lengths, bins, [&](int symbol, int length, int rank) {
    order[c.start[length] + rank] = static_cast<uint16_t>(symbol);
  });
  __syncthreads();
  const bool narrow = narrow_table(bins, c.longest);
  for (uint32_t i = threadIdx.x; i < 1u << c.longest; i += kBlock) {
    // The bits in the order of the code. A single symbol leaves half of the table free: that half is made the same.
    const uint32_t bits = c.used == 1 ? 0 : __brev(i) >> (32 - kLongest);
    int length = 0;  // the longest whose codes, and all shorter ones, end at or before `bits`
    for (int half = 8; half > 0; half /= 2) {
      if (end[length + half] <= bits) length += half;
    }
    ++length;
    const uint32_t rank = (bits >> (kLongest - length)) - c.first[length];
    const uint32_t symbol = order[c.start[length] + static_cast<int>(rank)];
    const uint32_t entry = symbol << 5 | static_cast<uint32_t>(length);
    if (narrow) {
      static_cast<uint16_t*>(table)[i] = static_cast<uint16_t>(entry);
    } else {
      static_cast<uint32_t*>(table)[i] = entry;
    }
  }
}

}  // namespace effdl::cuda

// rANS codebooks on the device, by one block of kBlock: the counterpart of common/rans.cpp.
#pragma once
#include "common/pack_bits_cuda.cuh"
#include "common/package_merge.cuh"
#include "common/weights_record.h"

namespace effdl::cuda {

constexpr int kRansTotal = 1 << record::kRansBits;

// Frequencies of `bins` counts with a sum of total. Returns how many symbols are used; there are none for more than
// kRansTotal.
__device__ inline int rans_frequencies(const int64_t* counts, int bins, int64_t total, const MergeSpace& space,
                                       uint32_t* frequency) {
  const MergeSpace s = space.in_shared(bins);
  const int used = sort_symbols(counts, bins, true, s);
  if (used > kRansTotal) return used;
  int sum = 0;
  for (int i = threadIdx.x; i < bins; i += kBlock) {
    const auto share = static_cast<uint64_t>(counts[i]) * kRansTotal / static_cast<uint64_t>(total);
    frequency[i] = counts[i] == 0 ? 0 : share == 0 ? 1 : static_cast<uint32_t>(share);
    sum += static_cast<int>(frequency[i]);
  }
  const int missing = kRansTotal - block_total(sum);  // its barriers also make the frequencies visible
  if (missing >= 0) {
    if (threadIdx.x == 0) frequency[s.index[0]] += static_cast<uint32_t>(missing);
  }
  int left = -missing;  // what the largest counts still have to give
  for (int begin = 0; left > 0; begin += kBlock) {
    const int i = begin + static_cast<int>(threadIdx.x);
    const int spare = i < used ? static_cast<int>(frequency[s.index[i]]) - 1 : 0;
    int total_spare;
    const int before = block_scan(spare, &total_spare);
    if (before < left && spare > 0) frequency[s.index[i]] -= static_cast<uint32_t>(least(spare, left - before));
    left -= total_spare;
  }
  __syncthreads();
  return used;
}

// Bits that the symbols take, rounded up.
__device__ inline int64_t rans_bits(const int64_t* counts, const uint32_t* frequency, int bins) {
  double bits = 0.0;
  for (int i = threadIdx.x; i < bins; i += kBlock) {
    if (counts[i] == 0) continue;
    const double each = __dsub_rn(record::kRansBits, log2(static_cast<double>(frequency[i])));
    bits = __dadd_rn(bits, __dmul_rn(static_cast<double>(counts[i]), each));
  }
  return static_cast<int64_t>(ceil(block_sum<kBlock>(bits)));
}

// f(symbol, frequency, cumulative, used symbols before it) for all symbols, used or not. Returns how many are used.
template <class F>
__device__ inline int for_each_cumulative(const uint32_t* frequency, int bins, F f) {
  int sum = 0, used = 0;
  for (int begin = 0; begin < bins; begin += kBlock) {
    const int i = begin + static_cast<int>(threadIdx.x), own = i < bins ? static_cast<int>(frequency[i]) : 0;
    int total, total_used;
    const int before = block_scan(own, &total), used_before = block_scan(own != 0 ? 1 : 0, &total_used);
    if (i < bins) f(i, static_cast<uint32_t>(own), static_cast<uint32_t>(sum + before), used + used_before);
    sum += total;
    used += total_used;
  }
  return used;
}

__device__ inline int rans_codebook_bytes(int bins, int used) {
  const int bytes = (bins + 7) / 8 + static_cast<int>((int64_t{used} * record::kRansBits + 7) / 8);
  return (bytes + 3) / 4 * 4;
}

// Encoder entries, frequency << 16 | cumulative or 0, and the codebook: a bit per symbol, 14 bits per used symbol.
// list: scratch for the frequencies of used symbols. Returns the codebook's bytes.
__device__ inline int write_rans_codebook(const uint32_t* frequency, int bins, uint32_t* list, uint32_t* table,
                                          uint8_t* codebook) {
  const int used = for_each_cumulative(frequency, bins, [&](int s, uint32_t f, uint32_t cumulative, int before) {
    table[s] = f == 0 ? 0 : f << 16 | cumulative;
    if (f != 0) list[before] = f;
  });
  __syncthreads();
  const int bytes = rans_codebook_bytes(bins, used), bitmap = (bins + 7) / 8;
  for (int b = threadIdx.x; b < bytes; b += kBlock) {
    uint32_t v = 0;
    if (b < bitmap) {
      for (int j = 0; j < 8 && 8 * b + j < bins; ++j) v |= (frequency[8 * b + j] != 0 ? 1u : 0u) << j;
    } else {  // a byte touches two frequencies at most
      const int bit = 8 * (b - bitmap), i = bit / record::kRansBits, in = bit % record::kRansBits;
      if (i < used) v = (list[i] - 1) >> in;
      if (i + 1 < used) v |= (list[i + 1] - 1) << (record::kRansBits - in);
    }
    codebook[b] = static_cast<uint8_t>(v);
  }
  return bytes;
}

// Decoder tables from a codebook of any alignment. frequency: scratch; symbols: frequency << 16 | cumulative; slots:
// kRansTotal. False, for all threads, if it is corrupt.
__device__ inline bool read_rans_codebook(const uint8_t* codebook, int64_t bytes, int bins, uint32_t* frequency,
                                          uint32_t* symbols, uint16_t* slots) {
  const int bitmap = (bins + 7) / 8;
  if (bytes < bitmap) return false;
  const auto bit = [&](int64_t i) { return codebook[i / 8] >> (i % 8) & 1; };
  int used = 0;
  for (int i = threadIdx.x; i < bins; i += kBlock) {
    frequency[i] = static_cast<uint32_t>(bit(i));
    used += static_cast<int>(frequency[i]);
  }
  used = block_total(used);
  if (bytes != rans_codebook_bytes(bins, used)) return false;
  bool zeros = true;  // what no symbol needs
  for (int i = bins + static_cast<int>(threadIdx.x); i < 8 * bitmap; i += kBlock) zeros = zeros && bit(i) == 0;
  const int64_t first_unused = 8 * int64_t{bitmap} + int64_t{used} * record::kRansBits;
  for (int64_t i = first_unused + threadIdx.x; i < 8 * bytes; i += kBlock) zeros = zeros && bit(i) == 0;
  int64_t sum = 0;
  for_each_cumulative(frequency, bins, [&](int s, uint32_t f, uint32_t, int before) {
    if (f == 0) return;
    const uint32_t less =
        packed_code(codebook + bitmap, bytes - bitmap, int64_t{before} * record::kRansBits, record::kRansBits);
    frequency[s] = less + 1;
    sum += less + 1;
  });
  if (__syncthreads_and(zeros) == 0 || block_total(sum) != kRansTotal) return false;
  for_each_cumulative(frequency, bins,
                      [&](int s, uint32_t f, uint32_t cumulative, int) { symbols[s] = f << 16 | cumulative; });
  __syncthreads();
  for (int slot = threadIdx.x; slot < kRansTotal; slot += kBlock) {
    int low = 0,
        high = bins;  // the last symbol that begins at or before the slot: unused ones begin where the next does
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      const bool before = static_cast<int>(symbols[middle] & 0xffff) <= slot;
      low = before ? middle : low;
      high = before ? high : middle;
    }
    slots[slot] = static_cast<uint16_t>(low);
  }
  return true;
}

}  // namespace effdl::cuda

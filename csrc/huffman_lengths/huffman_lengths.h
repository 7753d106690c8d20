// Optimal code lengths under a limit (thesis Algorithm 1, HuffmanCodebook; docs/format.md "Lengths").
#pragma once
#include <cstdint>

namespace effdl {

constexpr int64_t kMaxCountSum = int64_t{1} << 57;  // weights of packages stay below 2^63

// counts: `bins` (1 to 65536) of them, >= 0, their sum at most kMaxCountSum. At most 2^max_length symbols may be used;
// max_length 1 to 16. lengths: `bins`, 0 for unused symbols.
void huffman_lengths_cpu(const int64_t* counts, int64_t bins, int max_length, uint8_t* lengths);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. Counts or a limit that the above forbids give lengths of 255.
void huffman_lengths_cuda(const int64_t* counts, int64_t bins, int max_length, uint8_t* lengths, void* workspace,
                          int device, void* stream);
int64_t huffman_lengths_workspace_bytes(int64_t bins);
#endif

}  // namespace effdl

// Algorithm 1 of the thesis for one tensor: range, entropy, bits, histogram, codebook, code; a record of
// docs/format.md.
#pragma once
#include <cstdint>

#include "common/weights_record.h"
#include "entropy/entropy.h"

namespace effdl {

struct CompressPlan {
  const void* x;  // n elements, contiguous
  Dtype dtype;
  int64_t n;
  double floor;      // c of N = ceil(H + c)
  int entropy_bits;  // M, 1 to 16
  Sample sample;
  int codec;            // record::Codec or record::kAuto
  int bits;             // N, or 0: by entropy
  bool keep_nonfinite;  // store raw instead of failing
};

// Bytes to allocate for any record of n elements with up to max_bits bits.
int64_t compress_weights_bound(int64_t n, int64_t itemsize, int max_bits);
// Largest N that a plan can lead to.
int max_bits(const CompressPlan& plan);
// Writes the record to `out` and returns its bytes; -1 if an element is not finite and keep_nonfinite is false; -2 if
// another thread was seen to change x meanwhile.
int64_t compress_weights_cpu(const CompressPlan& plan, uint8_t* out);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout; out: compress_weights_bound bytes, 16-byte aligned. The same
// bytes as on the CPU; their number follows from the record's header. Where the CPU fails the header's magic is 0.
void compress_weights_cuda(const CompressPlan& plan, uint8_t* out, void* workspace, int device, void* stream);
int64_t compress_weights_workspace_bytes(int64_t n, int64_t itemsize, int max_bits);
#endif

}  // namespace effdl

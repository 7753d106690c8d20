// Codes from their packed form (docs/format.md, fixed records).
#pragma once
#include <cstdint>

#include "common/simd.h"
#include "pack_bits/pack_bits.h"

namespace effdl {

namespace unpack_bits {
// n codes from packed_bytes(n, bits) bytes, none of which beyond is read. bits 1 to 8 for uint8 codes, 1 to 16 for
// uint16. Any alignment, no overlap.
struct Kernels {
  void (*unpack8)(const uint8_t* packed, int64_t n, int bits, uint8_t* codes);
  void (*unpack16)(const uint8_t* packed, int64_t n, int bits, uint16_t* codes);
};
extern const Kernels kernels_scalar, kernels_avx2, kernels_avx512;
const Kernels& kernels();
}  // namespace unpack_bits

// On torch's threads.
void unpack_bits_cpu(const uint8_t* packed, int64_t n, int bits, void* codes, int code_bytes);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout.
void unpack_bits_cuda(const uint8_t* packed, int64_t n, int bits, void* codes, int code_bytes, int device,
                      void* stream);
#endif

}  // namespace effdl

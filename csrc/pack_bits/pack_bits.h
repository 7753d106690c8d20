// Codes packed with `bits` bits each, least significant bit first (docs/format.md, fixed records).
#pragma once
#include <cstdint>

#include "common/simd.h"

namespace effdl {

constexpr int64_t packed_bytes(int64_t n, int bits) { return n / 8 * bits + (n % 8 * bits + 7) / 8; }

namespace pack_bits {
// n codes to packed_bytes(n, bits) bytes; unused bits of the last one are 0. Returns the OR of all codes: the result is
// only right if that is below 2^bits. bits 1 to 8 for uint8 codes, 1 to 16 for uint16. Any alignment, no overlap.
struct Kernels {
  uint32_t (*pack8)(const uint8_t* codes, int64_t n, int bits, uint8_t* packed);
  uint32_t (*pack16)(const uint16_t* codes, int64_t n, int bits, uint8_t* packed);
};
extern const Kernels kernels_scalar, kernels_avx2, kernels_avx512;
const Kernels& kernels();
}  // namespace pack_bits

// On torch's threads. False if a code does not fit.
bool pack_bits_cpu(const void* codes, int code_bytes, int64_t n, int bits, uint8_t* packed);

#ifdef EFFDL_WITH_CUDA
// Asynchronous on `stream`; device memory throughout. Bits of a code beyond `bits` are dropped.
void pack_bits_cuda(const void* codes, int code_bytes, int64_t n, int bits, uint8_t* packed, int device, void* stream);
#endif

}  // namespace effdl

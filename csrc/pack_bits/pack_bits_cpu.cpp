// The scalar level, the run-time choice, and threads.
#include <string.h>

#include <atomic>

#include "common/parallel.h"
#include "pack_bits/pack_bits.h"
#define EFFDL_LEVEL scalar
#include "pack_bits/pack_bits_body.inl"

namespace effdl {
namespace pack_bits {

extern const Kernels kernels_scalar = scalar::pack_bits_kernels();

const Kernels& kernels() {
  static const Kernels* const levels[] = {&kernels_scalar, EFFDL_IF_X86(&kernels_avx2), EFFDL_IF_X86(&kernels_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

}  // namespace pack_bits

bool pack_bits_cpu(const void* codes, int code_bytes, int64_t n, int bits, uint8_t* packed) {
  constexpr int64_t kGrain = 1 << 14;  // groups of eight codes that are worth a thread
  record_kernel("pack_bits", simd_name(simd_level()));
  const pack_bits::Kernels& level = pack_bits::kernels();
  std::atomic<uint32_t> all{0};
  auto body = [&](int64_t begin, int64_t end) {
    const int64_t from = 8 * begin, count = (8 * end < n ? 8 * end : n) - from;
    uint8_t* to = packed + begin * bits;
    all |= code_bytes == 1 ? level.pack8(static_cast<const uint8_t*>(codes) + from, count, bits, to)
                           : level.pack16(static_cast<const uint16_t*>(codes) + from, count, bits, to);
  };
  parallel_for(0, (n + 7) / 8, kGrain, body);
  return all >> bits == 0;
}

}  // namespace effdl

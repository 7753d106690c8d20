// The scalar level, the run-time choice, and threads.
#include <string.h>

#include "common/parallel.h"
#include "unpack_bits/unpack_bits.h"
#define EFFDL_LEVEL scalar
#include "unpack_bits/unpack_bits_body.inl"

namespace effdl {
namespace unpack_bits {

extern const Kernels kernels_scalar = scalar::unpack_bits_kernels();

const Kernels& kernels() {
  static const Kernels* const levels[] = {&kernels_scalar, EFFDL_IF_X86(&kernels_avx2), EFFDL_IF_X86(&kernels_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

}  // namespace unpack_bits

void unpack_bits_cpu(const uint8_t* packed, int64_t n, int bits, void* codes, int code_bytes) {
  constexpr int64_t kGrain = 1 << 14;  // groups of eight codes that are worth a thread
  record_kernel("unpack_bits", simd_name(simd_level()));
  const unpack_bits::Kernels& level = unpack_bits::kernels();
  auto body = [&](int64_t begin, int64_t end) {
    const int64_t to = 8 * begin, count = (8 * end < n ? 8 * end : n) - to;
    const uint8_t* from = packed + begin * bits;
    if (code_bytes == 1) {
      level.unpack8(from, count, bits, static_cast<uint8_t*>(codes) + to);
    } else {
      level.unpack16(from, count, bits, static_cast<uint16_t*>(codes) + to);
    }
  };
  parallel_for(0, (n + 7) / 8, kGrain, body);
}

}  // namespace effdl

#include <string.h>

#include "unpack_bits/unpack_bits.h"
#define EFFDL_LEVEL avx2
#include "unpack_bits/unpack_bits_body.inl"

namespace effdl::unpack_bits {
extern const Kernels kernels_avx2 = avx2::unpack_bits_kernels();
}  // namespace effdl::unpack_bits

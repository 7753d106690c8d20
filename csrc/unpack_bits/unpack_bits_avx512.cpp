#include <string.h>

#include "unpack_bits/unpack_bits.h"
#define EFFDL_LEVEL avx512
#include "unpack_bits/unpack_bits_body.inl"

namespace effdl::unpack_bits {
extern const Kernels kernels_avx512 = avx512::unpack_bits_kernels();
}  // namespace effdl::unpack_bits

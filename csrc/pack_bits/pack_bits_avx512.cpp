#include <string.h>

#include "pack_bits/pack_bits.h"
#define EFFDL_LEVEL avx512
#include "pack_bits/pack_bits_body.inl"

namespace effdl::pack_bits {
extern const Kernels kernels_avx512 = avx512::pack_bits_kernels();
}  // namespace effdl::pack_bits

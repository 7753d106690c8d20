// Products of bfloat16 (AVX512_BF16), two to a word.
#include "common/pair_tile_avx512.h"

namespace effdl::pair_tile::avx512_bf16 {
struct Lanes : Floats {
  static inline V dot(V acc, V a, V b) { return _mm512_dpbf16_ps(acc, (__m512bh)a, (__m512bh)b); }
};
}  // namespace effdl::pair_tile::avx512_bf16

#define EFFDL_LEVEL avx512_bf16
#include "common/pair_tile_body.inl"

namespace effdl::pair_tile {
extern const Kernels bf16_avx512 = avx512_bf16::Loops<avx512_bf16::Lanes>::kernels();
}  // namespace effdl::pair_tile

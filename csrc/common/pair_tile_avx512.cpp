#include "common/pair_tile_avx512.h"

#include "common/half.h"

namespace effdl::pair_tile::avx512 {
struct Lanes : Floats {
  static inline V dot(V acc, V a, V b) { return _mm512_fmadd_ps(a, b, acc); }
};
}  // namespace effdl::pair_tile::avx512

#define EFFDL_LEVEL avx512
#define EFFDL_PAIR_TILE_EXACT
#include "common/pair_tile_body.inl"

namespace effdl::pair_tile {
extern const Level level_avx512 = avx512::level_of(avx512::Loops<avx512::Lanes>::kernels());
}  // namespace effdl::pair_tile

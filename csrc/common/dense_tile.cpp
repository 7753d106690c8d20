// The scalar level and the run-time choice.
#include "common/dense_tile.h"

#include "common/simd_real_scalar.h"

namespace effdl::dense::scalar {
static inline void add_to(double* p, float v) { *p += v; }
}  // namespace effdl::dense::scalar

#define EFFDL_LEVEL scalar
#define EFFDL_TILE_ROWS 4
#include "common/dense_tile_body.inl"

namespace effdl::dense {

extern const Level level_scalar = scalar::level_of();

const Level& level() {
  static const Level* const levels[] = {&level_scalar, EFFDL_IF_X86(&level_avx2), EFFDL_IF_X86(&level_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

}  // namespace effdl::dense

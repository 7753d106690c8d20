#include "common/dense_tile.h"
#include "common/simd_real_avx512.h"

namespace effdl::dense::avx512 {
static inline void add_to(double* p, __m512 v) {
  const __m512d low = _mm512_cvtps_pd(_mm512_castps512_ps256(v)), high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
  _mm512_storeu_pd(p, _mm512_add_pd(_mm512_loadu_pd(p), low));
  _mm512_storeu_pd(p + 8, _mm512_add_pd(_mm512_loadu_pd(p + 8), high));
}
}  // namespace effdl::dense::avx512

#define EFFDL_LEVEL avx512
#define EFFDL_TILE_ROWS 8
#include "common/dense_tile_body.inl"

namespace effdl::dense {
extern const Level level_avx512 = avx512::level_of();
}  // namespace effdl::dense

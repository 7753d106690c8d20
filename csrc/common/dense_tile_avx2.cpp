#include "common/dense_tile.h"
#include "common/simd_real_avx2.h"

namespace effdl::dense::avx2 {
static inline void add_to(double* p, __m256 v) {
  const __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v)), high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
  _mm256_storeu_pd(p, _mm256_add_pd(_mm256_loadu_pd(p), low));
  _mm256_storeu_pd(p + 4, _mm256_add_pd(_mm256_loadu_pd(p + 4), high));
}
}  // namespace effdl::dense::avx2

#define EFFDL_LEVEL avx2
#define EFFDL_TILE_ROWS 4
#include "common/dense_tile_body.inl"

namespace effdl::dense {
extern const Level level_avx2 = avx2::level_of();
}  // namespace effdl::dense

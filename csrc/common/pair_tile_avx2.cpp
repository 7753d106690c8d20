#include <immintrin.h>

#include "common/half.h"
#include "common/pair_tile.h"

namespace effdl::pair_tile::avx2 {
struct Lanes {
  using V = __m256;
  using M = __m256;
  static constexpr int width = 8, rows = 4;
  static constexpr uint32_t all = 0xff;
  static inline V load(const float* p) { return _mm256_loadu_ps(p); }
  static inline void store(float* p, V v) { _mm256_storeu_ps(p, v); }
  static inline V set1(float x) { return _mm256_set1_ps(x); }
  static inline V words(const Word* p) { return _mm256_loadu_ps(reinterpret_cast<const float*>(p)); }
  static inline V word(const Word* p) { return _mm256_broadcast_ss(reinterpret_cast<const float*>(p)); }
  static inline V dot(V acc, V a, V b) { return _mm256_fmadd_ps(a, b, acc); }
  static inline V add(V a, V b) { return _mm256_add_ps(a, b); }
  static inline V sub(V a, V b) { return _mm256_sub_ps(a, b); }
  static inline V min(V a, V b) { return _mm256_min_ps(a, b); }
  static inline M greater(V a, V b) { return _mm256_cmp_ps(a, b, _CMP_GT_OQ); }
  static inline M none() { return _mm256_setzero_ps(); }
  static inline M either(M a, M b) { return _mm256_or_ps(a, b); }
  static inline uint32_t bits(M m) { return static_cast<uint32_t>(_mm256_movemask_ps(m)); }
  static inline V ones(uint32_t bits) {
    const __m256i lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i on = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(static_cast<int>(bits)), lane), lane);
    return _mm256_and_ps(_mm256_castsi256_ps(on), _mm256_set1_ps(1.0f));
  }
};
}  // namespace effdl::pair_tile::avx2

#define EFFDL_LEVEL avx2
#define EFFDL_PAIR_TILE_EXACT
#include "common/pair_tile_body.inl"

namespace effdl::pair_tile {
extern const Level level_avx2 = avx2::level_of(avx2::Loops<avx2::Lanes>::kernels());
}  // namespace effdl::pair_tile

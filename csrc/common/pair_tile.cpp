// The scalar level and the run-time choice.
#include "common/pair_tile.h"

#include <string.h>

#include "common/half.h"

namespace effdl::pair_tile::scalar {
struct Lanes {
  using V = float;
  using M = bool;
  static constexpr int width = 1, rows = 4;
  static constexpr uint32_t all = 1;
  static inline V load(const float* p) { return *p; }
  static inline void store(float* p, V v) { *p = v; }
  static inline V set1(float x) { return x; }
  static inline V words(const Word* p) { return bits_float(*p); }
  static inline V word(const Word* p) { return bits_float(*p); }
  static inline V dot(V acc, V a, V b) { return acc + a * b; }
  static inline V add(V a, V b) { return a + b; }
  static inline V sub(V a, V b) { return a - b; }
  static inline V min(V a, V b) { return a < b ? a : b; }
  static inline M greater(V a, V b) { return a > b; }
  static inline M none() { return false; }
  static inline M either(M a, M b) { return a || b; }
  static inline uint32_t bits(M m) { return m; }
  static inline V ones(uint32_t bits) { return static_cast<float>(bits); }
};
}  // namespace effdl::pair_tile::scalar

#define EFFDL_LEVEL scalar
#define EFFDL_PAIR_TILE_EXACT
#include "common/pair_tile_body.inl"

namespace effdl::pair_tile {

extern const Level level_scalar = scalar::level_of(scalar::Loops<scalar::Lanes>::kernels());

const Level& level() {
  static const Level* const levels[] = {&level_scalar, EFFDL_IF_X86(&level_avx2), EFFDL_IF_X86(&level_avx512)};
  return *levels[static_cast<int>(simd_level())];
}

const Kernels* bf16_kernels() {
#ifdef EFFDL_X86_SIMD
  if (simd_level() == Simd::avx512 && __builtin_cpu_supports("avx512bf16")) return &bf16_avx512;
#endif
  return nullptr;
}

}  // namespace effdl::pair_tile

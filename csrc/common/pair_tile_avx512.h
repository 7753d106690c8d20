// What the AVX-512 tiles of float32 and of bfloat16 share. In an unnamed namespace: each file has its own flags, and so
// its own copy.
#pragma once
#include <immintrin.h>

#include "common/pair_tile.h"

namespace effdl::pair_tile {
namespace {

struct Floats {
  using V = __m512;
  using M = __mmask16;
  static constexpr int width = 16, rows = 8;
  static constexpr uint32_t all = 0xffff;
  static inline V load(const float* p) { return _mm512_loadu_ps(p); }
  static inline void store(float* p, V v) { _mm512_storeu_ps(p, v); }
  static inline V set1(float x) { return _mm512_set1_ps(x); }
  static inline V words(const Word* p) { return _mm512_loadu_ps(p); }
  static inline V word(const Word* p) { return _mm512_castsi512_ps(_mm512_set1_epi32(static_cast<int>(*p))); }
  static inline V add(V a, V b) { return _mm512_add_ps(a, b); }
  static inline V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static inline V min(V a, V b) { return _mm512_min_ps(a, b); }
  static inline M greater(V a, V b) { return _mm512_cmp_ps_mask(a, b, _CMP_GT_OQ); }
  static inline M none() { return 0; }
  static inline M either(M a, M b) { return _kor_mask16(a, b); }
  static inline uint32_t bits(M m) { return m; }
  static inline V ones(uint32_t bits) { return _mm512_maskz_mov_ps(static_cast<M>(bits), _mm512_set1_ps(1.0f)); }
};

}  // namespace
}  // namespace effdl::pair_tile

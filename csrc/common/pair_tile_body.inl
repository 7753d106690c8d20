// The loops of pair_tile.h for one arithmetic: Lanes has a vector V of `width` floats, a mask M, and what is done to
// them. Include in a file that defines EFFDL_LEVEL, after Lanes.

namespace effdl::pair_tile::EFFDL_LEVEL {

// Rows of a tile at a time, and three vectors of columns: what fits into registers.
template <class L>
struct Loops {
  using V = typename L::V;
  static constexpr int kVectors = 3, kCols = kVectors * L::width;
  static_assert(kRows % L::rows == 0 && kPanel % kCols == 0, "whole parts");

  static inline __attribute__((always_inline)) void multiply(const Tile& t, int row, int col,
                                                             V (&acc)[L::rows][kVectors]) {
#pragma GCC unroll 8
    for (int r = 0; r < L::rows; ++r) {
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) {
        const int c = col + v * L::width;
        acc[r][v] = t.resume ? L::load(t.values + (row + r) * kPanel + c)
                             : L::add(L::set1(t.row_base[row + r]), L::load(t.col_base + c));
      }
    }
    const Word* a = t.a + row;
    const Word* b = t.b + col;
    for (int64_t k = 0; k < t.depth; ++k, a += kRows, b += kPanel) {
      V right[kVectors];
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) right[v] = L::words(b + v * L::width);
#pragma GCC unroll 8
      for (int r = 0; r < L::rows; ++r) {
        const V left = L::word(a + r);
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) acc[r][v] = L::dot(acc[r][v], left, right[v]);
      }
    }
  }

  static inline __attribute__((always_inline)) void store(const Tile& t, int row, int col,
                                                          const V (&acc)[L::rows][kVectors]) {
#pragma GCC unroll 8
    for (int r = 0; r < L::rows; ++r) {
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; ++v) L::store(t.values + (row + r) * kPanel + col + v * L::width, acc[r][v]);
    }
  }

  static void accumulate(const Tile& t) {
    for (int row = 0; row < kRows; row += L::rows) {
      for (int col = 0; col < kPanel; col += kCols) {
        V acc[L::rows][kVectors];
        multiply(t, row, col, acc);
        store(t, row, col, acc);
      }
    }
  }

  static bool find(const Tile& t, const float* row_limit, const float* col_limit, uint64_t* hits) {
    bool any = false;
    for (int row = 0; row < kRows; row += L::rows) {
      for (int col = 0; col < kPanel; col += kCols) {
        V acc[L::rows][kVectors];
        multiply(t, row, col, acc);
        V cols[kVectors];
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; ++v) cols[v] = L::load(col_limit + col + v * L::width);
        typename L::M over = L::none();
#pragma GCC unroll 8
        for (int r = 0; r < L::rows; ++r) {
          const V limit = L::set1(row_limit[row + r]);
#pragma GCC unroll 3
          for (int v = 0; v < kVectors; ++v) over = L::either(over, L::greater(acc[r][v], L::min(limit, cols[v])));
        }
        if (L::bits(over) == 0) {
          if (kRows * kPanel > L::rows * kCols && col == 0) {
            for (int r = 0; r < L::rows; ++r) hits[row + r] = 0;  // other parts of the tile may have hits
          }
          continue;
        }
        any = true;
        store(t, row, col, acc);
#pragma GCC unroll 8
        for (int r = 0; r < L::rows; ++r) {
          const V limit = L::set1(row_limit[row + r]);
          uint64_t bits = 0;
#pragma GCC unroll 3
          for (int v = 0; v < kVectors; ++v) {
            bits |= uint64_t{L::bits(L::greater(acc[r][v], L::min(limit, cols[v])))} << (v * L::width);
          }
          hits[row + r] = (col == 0 ? 0 : hits[row + r]) | bits << col;
        }
      }
    }
    return any;
  }

  static bool count(const float* values, const Limits& rows, const Limits& cols, const uint64_t* valid,
                    int32_t* row_counts, int32_t* col_counts, uint64_t* row_doubts, uint64_t* col_doubts) {
    uint64_t any = 0;
    for (int r = 0; r < kRows; ++r) row_doubts[r] = col_doubts[r] = 0;
    for (int c = 0; c < kPanel; c += L::width) {
      const V limit = L::load(cols.limit + c), near = L::load(cols.near + c), slack = L::load(cols.slack + c);
      V sum = L::set1(0.0f);
      for (int r = 0; r < kRows; ++r) {
        const uint32_t use = static_cast<uint32_t>(valid[r] >> c) & L::all;
        const V v = L::load(values + r * kPanel + c);
        const uint32_t by_row = L::bits(L::greater(L::sub(v, slack), L::set1(rows.near[r]))) & use;
        const uint32_t by_col = L::bits(L::greater(L::sub(v, L::set1(rows.slack[r])), near)) & use;
        row_counts[r] += __builtin_popcount(by_row);
        sum = L::add(sum, L::ones(by_col));
        const uint64_t row_doubt = L::bits(L::greater(v, L::set1(rows.limit[r]))) & use & ~by_row;
        const uint64_t col_doubt = L::bits(L::greater(v, limit)) & use & ~by_col;
        row_doubts[r] |= row_doubt << c;
        col_doubts[r] |= col_doubt << c;
        any |= row_doubt | col_doubt;
      }
      float sums[L::width];
      L::store(sums, sum);
      for (int l = 0; l < L::width; ++l) col_counts[c + l] += static_cast<int32_t>(sums[l]);
    }
    return any != 0;
  }

  static constexpr Kernels kernels() { return {&accumulate, &find, &count}; }
};

#ifdef EFFDL_PAIR_TILE_EXACT
constexpr int kLanes = 16;

static inline double in_order(const double* lane) {
  double sum[kLanes / 2];
  for (int l = 0; l < 8; ++l) sum[l] = lane[l] + lane[l + 8];
  for (int l = 0; l < 4; ++l) sum[l] += sum[l + 4];
  for (int l = 0; l < 2; ++l) sum[l] += sum[l + 2];
  return sum[0] + sum[1];
}

template <class T>
static inline double exact_value(const T& x, double scale);
template <>
inline double exact_value(const float& x, double) {
  return x;
}
template <>
inline double exact_value(const double& x, double scale) {
  return x * scale;
}
template <>
inline double exact_value(const half_t& x, double) {
  return half_to_float(x.bits);
}
template <>
inline double exact_value(const bfloat16_t& x, double) {
  return bfloat16_to_float(x.bits);
}
template <>
inline double exact_value(const uint8_t& x, double) {
  return x;
}

template <class T, bool kDistance>
static double exact(const void* a_, const void* b_, int64_t dims, double scale) {
  const T* a = static_cast<const T*>(a_);
  const T* b = static_cast<const T*>(b_);
  double lane[kLanes] = {};
  const auto term = [scale](const T& p, const T& q) {
    const double x = exact_value(p, scale), y = exact_value(q, scale);
    return kDistance ? (x - y) * (x - y) : x * y;
  };
  int64_t k = 0;
  for (; k + kLanes <= dims; k += kLanes) {
    for (int l = 0; l < kLanes; ++l) lane[l] += term(a[k + l], b[k + l]);
  }
  for (int l = 0; k + l < dims; ++l) lane[l] += term(a[k + l], b[k + l]);
  return in_order(lane);
}

template <class T>
static constexpr Exact exact_of() {
  return {&exact<T, true>, &exact<T, false>};
}

static constexpr Level level_of(const Kernels& f32) {
  return {f32,
          {exact_of<float>(), exact_of<double>(), exact_of<half_t>(), exact_of<bfloat16_t>(), exact_of<uint8_t>()}};
}
#endif

}  // namespace effdl::pair_tile::EFFDL_LEVEL

// The loops of dense_tile.h for one SIMD level: EFFDL_LEVEL names its namespace, which simd_real_<level>.h has filled,
// EFFDL_TILE_ROWS how many rows of a tile its registers hold beside three vectors of columns.

namespace effdl::dense::EFFDL_LEVEL {

using namespace effdl::EFFDL_LEVEL;

static inline void add_to(double* p, Wide v) { store(p, add(load(p), v)); }

template <class T>
struct Loops {
  using V = typename Lanes<T>::V;
  static constexpr int kLanes = Lanes<T>::kCount, kStep = EFFDL_TILE_ROWS, kVectors = 3;
  static_assert(kRows % kStep == 0 && kPanel % (kVectors * kLanes) == 0, "whole parts");

  // sums[r][.] += left[r * kLeftRow + k * kLeftStep] * right[k][.] for k in order.
  template <int kN, int kLeftRow, int kLeftStep>
  static inline __attribute__((always_inline)) void multiply(const T* left, const T* right, int64_t depth,
                                                             V (&sums)[kStep][kN]) {
    for (int64_t k = 0; k < depth; ++k, left += kLeftStep, right += kPanel) {
      V b[kN];
#pragma GCC unroll 3
      for (int v = 0; v < kN; ++v) b[v] = load(right + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kStep; ++r) {
        const V a = splat(left[r * kLeftRow]);
#pragma GCC unroll 3
        for (int v = 0; v < kN; ++v) sums[r][v] = fmadd(a, b[v], sums[r][v]);
      }
    }
  }

  template <int kN>
  static inline __attribute__((always_inline)) void clear(V (&sums)[kStep][kN]) {
#pragma GCC unroll 8
    for (int r = 0; r < kStep; ++r) {
#pragma GCC unroll 3
      for (int v = 0; v < kN; ++v) sums[r][v] = splat(T(0));
    }
  }

  template <int kN>
  static inline void layer_part(const LayerTile<T>& t, int row, int col) {
    V sums[kStep][kN];
    clear(sums);
    const T* input = t.input + row * kPanel;
    const T* weights = t.weights + col;
    int64_t left = t.depth;
    for (; left > kPanel; left -= kPanel, input += t.panel_stride, weights += kPanel * kPanel) {
      multiply<kN, kPanel, 1>(input, weights, kPanel, sums);
    }
    multiply<kN, kPanel, 1>(input, weights, left, sums);
    T* out = t.output + row * kPanel + col;
#pragma GCC unroll 8
    for (int r = 0; r < kStep; ++r) {
#pragma GCC unroll 3
      for (int v = 0; v < kN; ++v) {
        T* to = out + r * kPanel + v * kLanes;
        store(to, add(load(t.bias == nullptr ? to : t.bias + col + v * kLanes), sums[r][v]));
      }
    }
  }

  static void layer(const LayerTile<T>& t) {
    for (int row = 0; row < kRows; row += kStep) {
      int col = 0;
      for (; col + 2 * kLanes < t.cols; col += kVectors * kLanes) layer_part<3>(t, row, col);
      if (col + kLanes < t.cols) {
        layer_part<2>(t, row, col);
      } else if (col < t.cols) {
        layer_part<1>(t, row, col);
      }
    }
  }

  template <int kN>
  static inline void moments_part(const MomentTile<T>& t, int row, int col) {
    V sums[kStep][kN];
    clear(sums);
    multiply<kN, 1, kPanel>(t.left + row, t.right + col, t.depth, sums);
    double* out = t.sums + row * t.stride + col;
    if (row + kStep <= t.rows && col + kN * kLanes <= t.end) {
#pragma GCC unroll 8
      for (int r = 0; r < kStep; ++r) {
#pragma GCC unroll 3
        for (int v = 0; v < kN; ++v) add_to(out + r * t.stride + v * kLanes, sums[r][v]);
      }
      return;
    }
    T found[kStep][kN * kLanes];
#pragma GCC unroll 8
    for (int r = 0; r < kStep; ++r) {
#pragma GCC unroll 3
      for (int v = 0; v < kN; ++v) store(&found[r][v * kLanes], sums[r][v]);
    }
    for (int r = 0; r < kStep && row + r < t.rows; ++r) {
      for (int c = 0; c < kN * kLanes && col + c < t.end; ++c) out[r * t.stride + c] += found[r][c];
    }
  }

  static void moments(const MomentTile<T>& t) {
    for (int row = 0; row < t.rows; row += kStep) {
      int col = t.begin / kLanes * kLanes;
      for (; col + 2 * kLanes < t.end; col += kVectors * kLanes) moments_part<3>(t, row, col);
      if (col + kLanes < t.end) {
        moments_part<2>(t, row, col);
      } else if (col < t.end) {
        moments_part<1>(t, row, col);
      }
    }
  }

  template <class Function>
  static inline void each(T* z, int64_t count, Function function) {
    for (int64_t i = 0; i < count; i += kLanes) store(z + i, function(load(z + i)));
  }

  static void activate(Activation activation, T* z, int64_t count) {
    const V zero = splat(T(0)), slope = splat(T(0.01));
    switch (activation) {
      case Activation::identity:
        return;
      case Activation::relu:
        return each(z, count, [=](V a) { return max_keep_nan(a, zero); });
      case Activation::celu:
        return each(z, count, [=](V a) { return select(greater(a, zero), a, expm1_negative(a)); });
      case Activation::tanh:
        return each(z, count, [](V a) { return tanh_plain(a); });
      case Activation::sigmoid:
        return each(z, count, [](V a) { return sigmoid(a); });
      case Activation::leaky_relu:
        return each(z, count, [=](V a) { return select(greater(a, zero), a, mul(a, slope)); });
    }
  }

  static constexpr Kernels<T> kernels() { return {&layer, &moments, &activate}; }
};

template <class Half>
static inline void widen_all(const Half* from, int64_t count, float* to) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store(to + i, load(from + i));
  if (i < count)
    store_partial(to + i, load_partial(from + i, static_cast<int>(count - i)), static_cast<int>(count - i));
}

static void widen(const void* from, Dtype dtype, int64_t count, float* to) {
  if (dtype == Dtype::f16) return widen_all(static_cast<const half_t*>(from), count, to);
  return widen_all(static_cast<const bfloat16_t*>(from), count, to);
}

static constexpr Level level_of() { return {Loops<float>::kernels(), Loops<double>::kernels(), &widen}; }

}  // namespace effdl::dense::EFFDL_LEVEL

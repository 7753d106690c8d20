// The kernels of one SIMD level: EFFDL_LEVEL names its namespace, which simd_real_<level>.h has filled.
//
// A block of rows lies by columns, a vector of rows at a time: the layer is a chain of multiply-adds per column, the
// moments are products of pairs of columns whose sums stay in lanes until the last block.
#include "common/half.h"

namespace effdl::EFFDL_LEVEL {

using layer_moments::Activation;
using layer_moments::kRows;
using layer_moments::kStride;
using layer_moments::Problem;
using layer_moments::Task;

// Columns in a tile of moments: as many squares as fit the registers.
constexpr int kTile = kWideWidth == 8 ? 4 : kWideWidth == 4 ? 3 : 2;
// Columns and vectors of rows in a tile of the layer.
constexpr int kLayerColumns = 4;
constexpr int kLayerVectors = kWideWidth == 8 ? 4 : 2;

template <class T>
struct ComputesIn {
  using Real = float;
};
template <>
struct ComputesIn<double> {
  using Real = double;
};

// ---- a block of z and y by columns ----

static inline double widened(float v) { return v; }
static inline double widened(double v) { return v; }
static inline double widened(half_t v) { return half_to_float(v.bits); }
static inline double widened(bfloat16_t v) { return bfloat16_to_float(v.bits); }

// The columns of y from row `begin` on as doubles, 0 in rows count to padded.
template <class T>
static inline void y_columns(const Problem& p, int64_t begin, int count, int padded, double* to) {
  const T* y = static_cast<const T*>(p.y) + begin * p.y_row_stride;
  for (int c = 0; c < p.targets; ++c) {
    for (int r = 0; r < count; ++r) to[r] = widened(y[r * p.y_row_stride + c * p.y_col_stride]);
    for (int r = count; r < padded; ++r) to[r] = 0.0;
    to += kStride;
  }
}

// [1, y], 0 in rows count to padded.
static inline void base_columns(const Problem& p, int64_t begin, int count, int padded, double* to) {
  for (int r = 0; r < padded; ++r) to[r] = r < count ? 1.0 : 0.0;
  to += kStride;
  switch (p.y_dtype) {
    case Dtype::f64:
      return y_columns<double>(p, begin, count, padded, to);
    case Dtype::f16:
      return y_columns<half_t>(p, begin, count, padded, to);
    case Dtype::bf16:
      return y_columns<bfloat16_t>(p, begin, count, padded, to);
    default:
      return y_columns<float>(p, begin, count, padded, to);
  }
}

template <class Real>
struct Columns {
  const Real* data;
  int64_t stride;
};

// The columns of z from row `begin` on, 0 in rows count to padded. They stay where they are if that serves as well.
template <class T, class Real>
static inline Columns<Real> z_columns(const Problem& p, int64_t begin, int count, int padded, double* room) {
  const T* z = static_cast<const T*>(p.z) + begin * p.z_row_stride;
  if constexpr (sizeof(T) == sizeof(Real)) {
    if (p.z_row_stride == 1 && count == padded) return {z, p.z_col_stride};
  }
  T* raw = reinterpret_cast<T*>(room);
  for (int k = 0; k < p.inputs; ++k) {
    for (int r = 0; r < count; ++r) raw[k * kStride + r] = z[r * p.z_row_stride + k * p.z_col_stride];
    for (int r = count; r < padded; ++r) raw[k * kStride + r] = T{};
  }
  if constexpr (sizeof(T) == sizeof(Real)) {
    return {raw, kStride};
  } else {
    Real* to = reinterpret_cast<Real*>(room + kStride * p.inputs);
    for (int k = 0; k < p.inputs; ++k) {
      for (int r = 0; r < padded; r += kWidth) store(to + k * kStride + r, load(raw + k * kStride + r));
    }
    return {to, kStride};
  }
}

// ---- the layer ----

// Some columns of [1 z] W: the bias first, then the columns of z in order.
template <class Real, int columns>
static void layer_tile(const Columns<Real>& z, int inputs, const Real* weights, int width, int padded, Real* to) {
  using V = typename Lanes<Real>::V;
  constexpr int kLanes = Lanes<Real>::kCount;
  for (int r = 0; r < padded; r += kLayerVectors * kLanes) {
    V sums[columns][kLayerVectors];
    for (int j = 0; j < columns; ++j) {
      for (int v = 0; v < kLayerVectors; ++v) sums[j][v] = splat(weights[j]);
    }
    for (int k = 0; k < inputs; ++k) {
      V x[kLayerVectors];
      for (int v = 0; v < kLayerVectors; ++v) x[v] = load(z.data + k * z.stride + r + v * kLanes);
      for (int j = 0; j < columns; ++j) {
        const V w = splat(weights[(k + 1) * width + j]);
        for (int v = 0; v < kLayerVectors; ++v) sums[j][v] = fmadd(x[v], w, sums[j][v]);
      }
    }
    for (int j = 0; j < columns; ++j) {
      for (int v = 0; v < kLayerVectors; ++v) store(to + j * kStride + r + v * kLanes, sums[j][v]);
    }
  }
}

template <class Real>
static inline void layer(const Columns<Real>& z, int inputs, const Real* weights, int width, int padded, Real* to) {
  int j = 0;
  for (; j + kLayerColumns <= width; j += kLayerColumns) {
    layer_tile<Real, kLayerColumns>(z, inputs, weights + j, width, padded, to + j * kStride);
  }
  switch (width - j) {
    case 3:
      return layer_tile<Real, 3>(z, inputs, weights + j, width, padded, to + j * kStride);
    case 2:
      return layer_tile<Real, 2>(z, inputs, weights + j, width, padded, to + j * kStride);
    case 1:
      return layer_tile<Real, 1>(z, inputs, weights + j, width, padded, to + j * kStride);
    default:
      return;
  }
}

template <Activation activation, class Real, class V>
static inline V activate(V x) {
  const V zero = splat(Real(0));
  if constexpr (activation == Activation::relu) return max_keep_nan(x, zero);
  if constexpr (activation == Activation::celu) return select(greater(x, zero), x, expm1_negative(x));
  if constexpr (activation == Activation::tanh) return tanh_plain(x);
  if constexpr (activation == Activation::sigmoid) return sigmoid(x);
  if constexpr (activation == Activation::leaky_relu) return select(greater(x, zero), x, mul(x, splat(Real(0.01))));
  return x;
}

// Columns of the layer as doubles, 0 in rows count to padded, and by the way as T where `output` is not null.
template <Activation activation, class T, class Real>
static void activate_columns(const Columns<Real>& from, int width, int count, int padded, double* to, T* output,
                             int64_t output_stride) {
  constexpr int kLanes = Lanes<Real>::kCount;
  for (int j = 0; j < width; ++j) {
    const Real* x = from.data + j * from.stride;
    double* wide = to + j * kStride;
    for (int r = 0; r < padded; r += kLanes) {
      const typename Lanes<Real>::V a = activate<activation, Real>(load(x + r));
      store_wide(wide + r, a);
      if (output != nullptr && r < count) {
        T* o = output + j * output_stride + r;
        if (r + kLanes <= count) {
          store(o, a);
        } else {
          store_partial(o, a, count - r);
        }
      }
    }
    for (int r = count; r < padded; ++r) wide[r] = 0.0;
  }
}

template <class T, class Real>
static inline void activate_columns(Activation activation, const Columns<Real>& from, int width, int count, int padded,
                                    double* to, T* output, int64_t stride) {
  switch (activation) {
    case Activation::relu:
      return activate_columns<Activation::relu>(from, width, count, padded, to, output, stride);
    case Activation::celu:
      return activate_columns<Activation::celu>(from, width, count, padded, to, output, stride);
    case Activation::tanh:
      return activate_columns<Activation::tanh>(from, width, count, padded, to, output, stride);
    case Activation::sigmoid:
      return activate_columns<Activation::sigmoid>(from, width, count, padded, to, output, stride);
    case Activation::leaky_relu:
      return activate_columns<Activation::leaky_relu>(from, width, count, padded, to, output, stride);
    default:
      return activate_columns<Activation::identity>(from, width, count, padded, to, output, stride);
  }
}

// ---- the moments ----

// Adds the products of `rows` columns at a with `cols` columns at b to their sums; of a triangle those with col >= row.
template <int rows, int cols, bool triangle>
static void moments_tile(const double* a, const double* b, int padded, double* sums) {
  Wide s[rows][cols];
  double* from = sums;
  for (int i = 0; i < rows; ++i) {
    for (int j = triangle ? i : 0; j < cols; ++j, from += kWideWidth) s[i][j] = load(from);
  }
  for (int r = 0; r < padded; r += kWideWidth) {
    Wide x[rows];
    for (int i = 0; i < rows; ++i) x[i] = load(a + i * kStride + r);
    for (int j = 0; j < cols; ++j) {
      const Wide v = triangle ? x[j < rows ? j : 0] : load(b + j * kStride + r);
      for (int i = 0; i < (triangle ? j + 1 : rows); ++i) s[i][j] = fmadd(x[i], v, s[i][j]);
    }
  }
  for (int i = 0; i < rows; ++i) {
    for (int j = triangle ? i : 0; j < cols; ++j, sums += kWideWidth) store(sums, s[i][j]);
  }
}

using MomentsTile = void (*)(const double* a, const double* b, int padded, double* sums);

static inline MomentsTile triangle_of(int size) {
  static constexpr MomentsTile tiles[4] = {moments_tile<1, 1, true>, moments_tile<2, 2, true>, moments_tile<3, 3, true>,
                                           moments_tile<4, 4, true>};
  return tiles[size - 1];
}
static inline MomentsTile rectangle_of(int rows, int cols) {
  static constexpr MomentsTile tiles[4][4] = {
      {moments_tile<1, 1, false>, moments_tile<1, 2, false>, moments_tile<1, 3, false>, moments_tile<1, 4, false>},
      {moments_tile<2, 1, false>, moments_tile<2, 2, false>, moments_tile<2, 3, false>, moments_tile<2, 4, false>},
      {moments_tile<3, 1, false>, moments_tile<3, 2, false>, moments_tile<3, 3, false>, moments_tile<3, 4, false>},
      {moments_tile<4, 1, false>, moments_tile<4, 2, false>, moments_tile<4, 3, false>, moments_tile<4, 4, false>}};
  return tiles[rows - 1][cols - 1];
}

// The tiles of `width` columns with each other and with `others` more, in the order of their sums:
// visit(row, rows, col, cols, place), where place is triangle, own or other: which columns `col` counts.
enum Place { kTriangle, kOwn, kOther };
template <class Visit>
static inline void for_each_tile(int width, int others, const Visit& visit) {
  for (int i = 0; i < width; i += kTile) {
    const int rows = width - i < kTile ? width - i : kTile;
    visit(i, rows, i, rows, kTriangle);
    for (int j = i + rows; j < width; j += kTile) visit(i, rows, j, width - j < kTile ? width - j : kTile, kOwn);
    for (int j = 0; j < others; j += kTile) visit(i, rows, j, others - j < kTile ? others - j : kTile, kOther);
  }
}

static inline void add_moments(const double* columns, int width, const double* base, int others, int padded,
                               double* sums) {
  for_each_tile(width, others, [&](int i, int rows, int j, int cols, Place place) {
    const double* a = columns + i * kStride;
    if (place == kTriangle) {
      triangle_of(rows)(a, a, padded, sums);
      sums += kWideWidth * rows * (rows + 1) / 2;
    } else {
      rectangle_of(rows, cols)(a, (place == kOwn ? columns : base) + j * kStride, padded, sums);
      sums += kWideWidth * rows * cols;
    }
  });
}

// The sums over lanes in the order of Task::sums: the upper triangle by rows, then the products with the others.
static inline void write_sums(const double* sums, int width, int others, double* to) {
  double* rest = to + static_cast<int64_t>(width) * (width + 1) / 2;
  for_each_tile(width, others, [&](int row, int rows, int col, int cols, Place place) {
    for (int i = row; i < row + rows; ++i) {
      for (int j = place == kTriangle ? i : col; j < col + cols; ++j, sums += kWideWidth) {
        double* cell = place == kOther ? rest + i * others + j : to + i * width - i * (i - 1) / 2 + (j - i);
        *cell = sum(load(sums));
      }
    }
  });
}

// ---- a task ----

template <class T>
static void layer_moments_run(const Task& task) {
  using Real = typename ComputesIn<T>::Real;
  constexpr int kPad = kLayerVectors * Lanes<Real>::kCount;
  const Problem& p = *task.problem;
  const int others = 1 + p.targets, width = p.width;
  const int64_t own_sums = kWideWidth * layer_moments::sum_count(width, p.targets);
  const int64_t tries = task.try_end - task.try_begin;
  double* base = task.scratch;
  double* columns = base + kStride * others;
  Real* before = reinterpret_cast<Real*>(columns + kStride * width);
  double* z_room = columns + kStride * 2 * width;
  double* sums = z_room + kStride * 2 * p.inputs;
  double* base_sums = sums + tries * own_sums;
  const int64_t all = tries * own_sums + kWideWidth * layer_moments::base_count(p.targets);
  for (int64_t i = 0; i < all; ++i) sums[i] = 0.0;

  for (int64_t begin = task.row_begin; begin < task.row_end; begin += kRows) {
    const int count = task.row_end - begin < kRows ? static_cast<int>(task.row_end - begin) : kRows;
    const int padded = (count + kPad - 1) / kPad * kPad;
    base_columns(p, begin, count, padded, base);
    if (task.base_sums != nullptr) add_moments(base, others, nullptr, 0, padded, base_sums);
    const Columns<Real> z = z_columns<T, Real>(p, begin, count, padded, z_room);
    for (int64_t t = task.try_begin; t < task.try_end; ++t) {
      Columns<Real> a = z;
      if (p.weights != nullptr) {
        layer(z, p.inputs, static_cast<const Real*>(p.weights) + t * (p.inputs + 1) * width, width, padded, before);
        a = {before, kStride};
      }
      T* output = p.output == nullptr ? nullptr : static_cast<T*>(p.output) + begin;
      activate_columns<T>(p.activation, a, width, count, padded, columns, output, p.rows);
      add_moments(columns, width, base, others, padded, sums + (t - task.try_begin) * own_sums);
    }
  }
  for (int64_t t = 0; t < tries; ++t) {
    write_sums(sums + t * own_sums, width, others, task.sums + t * layer_moments::sum_count(width, p.targets));
  }
  if (task.base_sums != nullptr) write_sums(base_sums, others, 0, task.base_sums);
}

static constexpr layer_moments::Kernels layer_moments_kernels() {
  return {
      {layer_moments_run<float>, layer_moments_run<double>, layer_moments_run<half_t>, layer_moments_run<bfloat16_t>}};
}

}  // namespace effdl::EFFDL_LEVEL

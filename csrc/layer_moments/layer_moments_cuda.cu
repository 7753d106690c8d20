// A block takes a group of rows and one try, a tile of rows at a time: the layer's columns go to shared memory as
// doubles, and every thread keeps the sums of some 2 x 2 tiles of the moments. A second kernel adds up the groups in
// order.
#include <algorithm>

#include "common/cuda_utils.cuh"
#include "layer_moments/layer_moments.h"

namespace effdl {
namespace {

using namespace cuda;
using layer_moments::Activation;
using layer_moments::Problem;

constexpr const char* kOp = "layer_moments";
constexpr int kThreads = 256;
constexpr int kTileRows = 64;
constexpr int kPitch = kTileRows + 1;  // of a column in shared memory, so that rows do not share a bank
constexpr int64_t kMostGroups = 128;
constexpr int64_t kMostBytes = int64_t{64} << 20;  // of sums at a time, unless one try needs more

// How a problem of these sizes is cut. It depends on the rows and columns alone: a try's bits do not depend on others.
struct Plan {
  int64_t rows_per_group, groups;
  int columns;      // of r
  int pairs;        // of columns, one after another; the last may have a column of zeros
  int tiles;        // with each other
  int64_t at_once;  // tries
  Plan(int64_t rows, int64_t tries, int width, int targets) {
    const int64_t even = (rows + kMostGroups - 1) / kMostGroups;
    rows_per_group = std::max<int64_t>(2 * kTileRows, (even + kTileRows - 1) / kTileRows * kTileRows);
    groups = (rows + rows_per_group - 1) / rows_per_group;
    columns = 1 + width + targets;
    pairs = (columns + 1) / 2;
    tiles = pairs * (pairs + 1) / 2;
    const int64_t one = std::max<int64_t>(1, groups * tiles * 4 * static_cast<int64_t>(sizeof(double)));
    at_once = std::min(tries, std::max<int64_t>(1, kMostBytes / one));
  }
  int64_t bytes() const { return at_once * groups * tiles * 4 * static_cast<int64_t>(sizeof(double)); }
};

__device__ inline float tanh_of(float x) { return tanhf(x); }
__device__ inline double tanh_of(double x) { return tanh(x); }
__device__ inline float exp_of(float x) { return expf(x); }
__device__ inline double exp_of(double x) { return exp(x); }
__device__ inline float expm1_of(float x) { return expm1f(x); }
__device__ inline double expm1_of(double x) { return expm1(x); }
__device__ inline float fused(float a, float b, float c) { return fmaf(a, b, c); }
__device__ inline double fused(double a, double b, double c) { return fma(a, b, c); }

// NaN passes through each.
template <class Real>
__device__ inline Real activate(Activation activation, Real x) {
  switch (activation) {
    case Activation::relu:
      return x < Real(0) ? Real(0) : x;
    case Activation::celu:
      return x > Real(0) ? x : expm1_of(x);
    case Activation::tanh:
      return tanh_of(x);
    case Activation::sigmoid:
      return Real(1) / (Real(1) + exp_of(-x));
    case Activation::leaky_relu:
      return x > Real(0) ? x : x * Real(0.01);
    default:
      return x;
  }
}

// The pair of columns (first <= second) of a tile.
__device__ inline void pairs_of_tile(int tile, int pairs, int* first, int* second) {
  int row = 0;
  while (tile >= pairs - row) tile -= pairs - row, ++row;
  *first = row;
  *second = row + tile;
}

// sums: of the tries from `first_try` on, of their groups, of their tiles, 4 each.
// kOwn: tiles of a thread. `lanes` threads share the tiles; kThreads / lanes sets of them share the rows.
template <class T, int kOwn>
__global__ void __launch_bounds__(kThreads)
    partial_kernel(Problem p, int64_t first_try, int64_t rows_per_group, int64_t groups, int pairs, int tiles,
                   int lanes, double* sums) {
  using R = Real<T>;
  extern __shared__ double shared[];
  double* columns = shared;                                       // 2 * pairs of them
  R* inputs = reinterpret_cast<R*>(shared + 2 * pairs * kPitch);  // the columns of z
  const int64_t group = blockIdx.x % groups, t = first_try + blockIdx.x / groups;
  const int64_t row_begin = group * rows_per_group;
  const int64_t row_end = row_begin + rows_per_group < p.rows ? row_begin + rows_per_group : p.rows;
  const int lane = static_cast<int>(threadIdx.x) % lanes, set = static_cast<int>(threadIdx.x) / lanes;
  const int sets = kThreads / lanes, width = p.width;
  const R* weights = static_cast<const R*>(p.weights);
  if (weights != nullptr) weights += t * (p.inputs + 1) * width;

  double own[kOwn][4];
  int first[kOwn], second[kOwn];
#pragma unroll
  for (int q = 0; q < kOwn; ++q) {
    const int tile = lane + q * lanes;
    pairs_of_tile(tile < tiles ? tile : 0, pairs, &first[q], &second[q]);
#pragma unroll
    for (int e = 0; e < 4; ++e) own[q][e] = 0.0;
  }

  for (int64_t begin = row_begin; begin < row_end; begin += kTileRows) {
    const int count = row_end - begin < kTileRows ? static_cast<int>(row_end - begin) : kTileRows;
    __syncthreads();  // the previous tile has been read
    for (int i = threadIdx.x; i < p.inputs * kTileRows; i += kThreads) {
      // Neighbouring threads take neighbouring elements of memory.
      const int k = p.z_col_stride == 1 ? i % p.inputs : i / kTileRows;
      const int r = p.z_col_stride == 1 ? i / p.inputs : i % kTileRows;
      R v = R(0);
      if (r < count) v = to_real(static_cast<const T*>(p.z)[(begin + r) * p.z_row_stride + k * p.z_col_stride]);
      inputs[k * kPitch + r] = v;
    }
    for (int i = threadIdx.x; i < (1 + p.targets) * kTileRows; i += kThreads) {
      const int j = i / kTileRows, r = i % kTileRows;
      double v = 0.0;
      if (r < count) {
        v = j == 0 ? 1.0 : read<double>(p.y, p.y_dtype, (begin + r) * p.y_row_stride + (j - 1) * p.y_col_stride);
      }
      columns[(j == 0 ? 0 : width + j) * kPitch + r] = v;
    }
    if (2 * pairs > 1 + width + p.targets) {
      for (int r = threadIdx.x; r < kTileRows; r += kThreads) columns[(2 * pairs - 1) * kPitch + r] = 0.0;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < width * kTileRows; i += kThreads) {
      const int j = i / kTileRows, r = i % kTileRows;
      R a;
      if (weights == nullptr) {
        a = inputs[j * kPitch + r];
      } else {
        a = weights[j];
        for (int k = 0; k < p.inputs; ++k) a = fused(inputs[k * kPitch + r], weights[(k + 1) * width + j], a);
        a = activate(p.activation, a);
      }
      if (p.output != nullptr && r < count) static_cast<T*>(p.output)[j * p.rows + begin + r] = from_real<T>(a);
      columns[(1 + j) * kPitch + r] = r < count ? static_cast<double>(a) : 0.0;
    }
    __syncthreads();
    for (int r = set; r < count; r += sets) {
#pragma unroll
      for (int q = 0; q < kOwn; ++q) {
        const double* x = columns + 2 * first[q] * kPitch + r;
        const double* y = columns + 2 * second[q] * kPitch + r;
        const double x0 = x[0], x1 = x[kPitch], y0 = y[0], y1 = y[kPitch];
        own[q][0] = fma(x0, y0, own[q][0]);
        own[q][1] = fma(x0, y1, own[q][1]);
        own[q][2] = fma(x1, y0, own[q][2]);
        own[q][3] = fma(x1, y1, own[q][3]);
      }
    }
  }

  double* to = sums + static_cast<int64_t>(blockIdx.x) * tiles * 4;
  if (sets == 1) {
#pragma unroll
    for (int q = 0; q < kOwn; ++q) {
      const int tile = lane + q * lanes;
      if (tile >= tiles) continue;
#pragma unroll
      for (int e = 0; e < 4; ++e) to[tile * 4 + e] = own[q][e];
    }
    return;
  }
  // kOwn is 1 then: the sets of threads are added up in order.
  __syncthreads();
#pragma unroll
  for (int e = 0; e < 4; ++e) shared[threadIdx.x * 4 + e] = own[0][e];
  __syncthreads();
  for (int i = threadIdx.x; i < tiles * 4; i += kThreads) {
    double total = 0.0;
    for (int s = 0; s < sets; ++s) total += shared[s * lanes * 4 + i];
    to[i] = total;
  }
}

__global__ void __launch_bounds__(kThreads)
    sum_kernel(const double* sums, int64_t tries, int64_t groups, int pairs, int tiles, int n, double* moments) {
  const int64_t i = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (i >= tries * tiles * 4) return;
  const int64_t t = i / (tiles * 4);
  const int element = static_cast<int>(i % (tiles * 4));
  int first, second;
  pairs_of_tile(element / 4, pairs, &first, &second);
  const int row = 2 * first + element % 4 / 2, col = 2 * second + element % 2;
  if (row > col || col >= n) return;
  double total = 0.0;
  for (int64_t g = 0; g < groups; ++g) total += sums[(t * groups + g) * tiles * 4 + element];
  moments += t * n * n;
  moments[row * n + col] = total;
  moments[col * n + row] = total;
}

template <class T, int kOwn>
void launch_partial(const Problem& p, const Plan& plan, int64_t first, int64_t tries, int lanes, double* sums,
                    void* stream) {
  const int columns = 2 * plan.pairs * kPitch;
  const int inputs = (p.inputs * kPitch * static_cast<int>(sizeof(Real<T>)) + 7) / 8;
  const int bytes = std::max(columns + inputs, 4 * kThreads) * static_cast<int>(sizeof(double));
  launch_shared(kOp, partial_kernel<T, kOwn>, static_cast<int>(plan.groups * tries), kThreads, bytes, stream, p, first,
                plan.rows_per_group, plan.groups, plan.pairs, plan.tiles, lanes, sums);
}

template <class T>
void launch_partial(const Problem& p, const Plan& plan, int64_t first, int64_t tries, double* sums, void* stream) {
  int lanes = kWarp;
  while (lanes < plan.tiles && lanes < kThreads) lanes *= 2;
  const int own = (plan.tiles + lanes - 1) / lanes;
  if (own == 1) return launch_partial<T, 1>(p, plan, first, tries, lanes, sums, stream);
  if (own == 2) return launch_partial<T, 2>(p, plan, first, tries, lanes, sums, stream);
  if (own <= 4) return launch_partial<T, 4>(p, plan, first, tries, lanes, sums, stream);
  launch_partial<T, 9>(p, plan, first, tries, lanes, sums, stream);  // 65 pairs have 2145 tiles
}

}  // namespace

int64_t layer_moments_workspace_bytes(int64_t rows, int64_t tries, int width, int targets) {
  return Plan(rows, tries, width, targets).bytes();
}

void layer_moments_cuda(const layer_moments::Problem& p, void* workspace, int device, void* stream) {
  const DeviceGuard guard(device, kOp);
  const Plan plan(p.rows, p.tries, p.width, p.targets);
  double* sums = static_cast<double*>(workspace);
  const int n = plan.columns;
  for (int64_t first = 0; first < p.tries; first += plan.at_once) {
    const int64_t tries = std::min(plan.at_once, p.tries - first);
    if (plan.groups > 0) {
      if (p.z_dtype == Dtype::f64) {
        launch_partial<double>(p, plan, first, tries, sums, stream);
      } else if (p.z_dtype == Dtype::f16) {
        launch_partial<__half>(p, plan, first, tries, sums, stream);
      } else if (p.z_dtype == Dtype::bf16) {
        launch_partial<__nv_bfloat16>(p, plan, first, tries, sums, stream);
      } else {
        launch_partial<float>(p, plan, first, tries, sums, stream);
      }
    }
    const int64_t blocks = (tries * plan.tiles * 4 + kThreads - 1) / kThreads;
    launch(kOp, sum_kernel, static_cast<int>(blocks), kThreads, stream, sums, tries, plan.groups, plan.pairs,
           plan.tiles, n, p.moments + first * n * n);
  }
}

}  // namespace effdl

// One block of threads for each entry of the batch; its matrices lie in shared memory.
#include "common/cuda_utils.cuh"
#include "ridge_solve/ridge_solve.h"

namespace effdl {
namespace {

using namespace cuda;
using ridge_solve::Compensated;
using ridge_solve::kPivot;
using ridge_solve::Problem;

constexpr const char* kOp = "ridge_solve";
constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// Of one entry, in shared memory.
struct Entry {
  const double* moments;
  int n, c;
  double* factor;  // (n, n): L below and on the diagonal, above it the transpose of L^-1 without its diagonal
  double* right;   // (n, c)
  double* scale;   // (n)
  double* ridge;   // (n)
  double* sums;    // (n)
  int* used;       // (n)

  __device__ double gram(int i, int j) const { return moments[(i > j ? i : j) * (n + c) + (i > j ? j : i)]; }
  __device__ double cross(int i, int t) const { return moments[i * (n + c) + n + t]; }
  __device__ double root(int i, int j) const {  // L^-1, j <= i
    return i == j ? (used[i] ? 1.0 / factor[i * n + i] : 0.0) : factor[j * n + i];
  }
  __device__ double inverse(int i, int j) const {  // of the scaled matrix, 0 where a column is not used
    double total = 0.0;
    for (int k = i > j ? i : j; k < n; ++k) total += root(k, i) * root(k, j);
    return total;
  }
};

// Whether every number is finite; the same for all threads.
__device__ bool read_entry(const Entry& e, const Problem& p) {
  int bad = 0;
  for (int i = threadIdx.x; i < (e.n + e.c) * (e.n + e.c); i += kThreads) bad |= !isfinite(e.moments[i]);
  for (int i = threadIdx.x; i < e.n; i += kThreads) {
    e.ridge[i] = p.free_bias && i == 0 ? 0.0 : p.l2;
    const double diagonal = e.gram(i, i) + e.ridge[i];
    bad |= !isfinite(diagonal);
    e.scale[i] = diagonal > 0.0 ? 1.0 / sqrt(diagonal) : 0.0;
  }
  if (__syncthreads_or(bad) != 0) return false;
  for (int q = threadIdx.x; q < e.n * e.n; q += kThreads) {
    const int i = q / e.n, j = q % e.n;
    e.factor[q] = (e.gram(i, j) + (i == j ? e.ridge[i] : 0.0)) * e.scale[i] * e.scale[j];
  }
  __syncthreads();
  return true;
}

// The largest of e.sums, for every thread.
__device__ double largest_sum(const Entry& e) {
  __syncthreads();
  double most = 0.0;
  for (int i = 0; i < e.n; ++i) most = e.sums[i] > most ? e.sums[i] : most;
  __syncthreads();
  return most;
}

// The largest sum of magnitudes of a row of a matrix (i, j) -> element.
template <class Element>
__device__ double norm(const Entry& e, const Element& element) {
  for (int i = static_cast<int>(threadIdx.x) / kWarp; i < e.n; i += kWarps) {
    double total = 0.0;
    for (int j = threadIdx.x % kWarp; j < e.n; j += kWarp) total += fabs(element(i, j));
    total = lanes_sum(total, kWarp);
    if (threadIdx.x % kWarp == 0) e.sums[i] = total;
  }
  return largest_sum(e);
}

// L below the diagonal; a column that depends on those before it has a row and a column of the identity. Returns
// whether all are used.
__device__ bool factorize(const Entry& e) {
  const int n = e.n;
  bool all = true;
  for (int j = 0; j < n; ++j) {
    const double pivot = e.factor[j * n + j];
    const bool use = pivot > n * kPivot;
    const double root = sqrt(pivot);
    all = all && use;
    __syncthreads();  // the pivot has been read
    if (threadIdx.x == 0) {
      e.used[j] = use;
      e.factor[j * n + j] = use ? root : 1.0;
    }
    for (int i = j + 1 + threadIdx.x; i < n; i += kThreads)
      e.factor[i * n + j] = use ? e.factor[i * n + j] / root : 0.0;
    if (!use) {
      for (int k = threadIdx.x; k < j; k += kThreads) e.factor[j * n + k] = 0.0;
    }
    __syncthreads();
    if (use) {
      const int rest = n - j - 1;
      for (int q = threadIdx.x; q < rest * rest; q += kThreads) {
        const int i = j + 1 + q / rest, k = j + 1 + q % rest;
        if (k <= i) e.factor[i * n + k] -= e.factor[i * n + j] * e.factor[k * n + j];
      }
    }
    __syncthreads();
  }
  return all;
}

// L^-1, a column a thread, into what is above the diagonal.
__device__ void invert(const Entry& e) {
  const int n = e.n;
  for (int j = threadIdx.x; j < n; j += kThreads) {
    for (int i = j + 1; i < n; ++i) {
      double total = 0.0;
      for (int k = j; k < i; ++k) total += e.factor[i * n + k] * e.root(k, j);
      e.factor[j * n + i] = -total / e.factor[i * n + i];
    }
  }
  __syncthreads();
}

// right = (G + l2 I)^-1 right, 0 in rows that are not used.
__device__ void substitute(const Entry& e) {
  const int n = e.n, c = e.c;
  for (int q = threadIdx.x; q < n * c; q += kThreads) e.right[q] *= e.used[q / c] ? e.scale[q / c] : 0.0;
  __syncthreads();
  for (int k = 0; k < n; ++k) {
    for (int t = threadIdx.x; t < c; t += kThreads) e.right[k * c + t] /= e.factor[k * n + k];
    __syncthreads();
    for (int q = (k + 1) * c + threadIdx.x; q < n * c; q += kThreads) {
      e.right[q] -= e.factor[q / c * n + k] * e.right[k * c + q % c];
    }
    __syncthreads();
  }
  for (int k = n - 1; k >= 0; --k) {
    for (int t = threadIdx.x; t < c; t += kThreads) e.right[k * c + t] /= e.factor[k * n + k];
    __syncthreads();
    for (int q = threadIdx.x; q < k * c; q += kThreads) {
      e.right[q] -= e.factor[k * n + q / c] * e.right[k * c + q % c];
    }
    __syncthreads();
  }
  for (int q = threadIdx.x; q < n * c; q += kThreads) e.right[q] *= e.scale[q / c];
  __syncthreads();
}

__global__ void __launch_bounds__(kThreads) solve_kernel(Problem p, double* map) {
  extern __shared__ double shared[];
  Entry e;
  e.n = p.columns;
  e.c = p.targets;
  const int n = e.n, c = e.c;
  e.moments = p.moments + static_cast<int64_t>(blockIdx.x) * (n + c) * (n + c);
  e.factor = shared;
  e.right = e.factor + n * n;
  e.scale = e.right + n * c;
  e.ridge = e.scale + n;
  e.sums = e.ridge + n;
  e.used = reinterpret_cast<int*>(e.sums + n);
  double* solution = p.solution + static_cast<int64_t>(blockIdx.x) * n * c;

  if (!read_entry(e, p)) {
    const double nan = __longlong_as_double(0x7ff8000000000000ll);
    for (int q = threadIdx.x; q < n * c; q += kThreads) solution[q] = nan;
    if (map != nullptr) {
      for (int q = threadIdx.x; q < n * (n + c); q += kThreads) map[q] = nan;
    }
    if (threadIdx.x == 0) p.residual[blockIdx.x] = p.rcond[blockIdx.x] = nan;
    return;
  }
  const double size = norm(e, [&](int i, int j) { return e.factor[i * n + j]; });
  const bool all_used = factorize(e);
  invert(e);
  const double inverse_size = norm(e, [&](int i, int j) { return e.inverse(i, j); });
  if (threadIdx.x == 0) p.rcond[blockIdx.x] = all_used ? 1.0 / (size * inverse_size) : 0.0;

  for (int q = threadIdx.x; q < n * c; q += kThreads) e.right[q] = e.cross(q / c, q % c);
  __syncthreads();
  substitute(e);
  for (int q = threadIdx.x; q < n * c; q += kThreads) solution[q] = e.right[q];
  __syncthreads();
  const auto gram_times = [&](int i, int t) {
    double total = 0.0;
    for (int k = 0; k < n; ++k) total += e.gram(i, k) * solution[k * c + t];
    return total;
  };
  for (int q = threadIdx.x; q < n * c; q += kThreads) {
    const int i = q / c, t = q % c;
    Compensated rest = {e.cross(i, t), 0.0};
    for (int k = 0; k < n; ++k) rest.subtract_product(e.gram(i, k), solution[k * c + t]);
    rest.subtract_product(e.ridge[i], solution[q]);
    e.right[q] = rest.value();
  }
  __syncthreads();
  substitute(e);
  for (int q = threadIdx.x; q < n * c; q += kThreads) solution[q] += e.right[q];
  __syncthreads();

  double squares = 0.0, linear = 0.0, quadratic = 0.0;
  for (int t = threadIdx.x; t < c; t += kThreads) squares += e.cross(n + t, t);
  for (int q = threadIdx.x; q < n * c; q += kThreads) {
    linear += solution[q] * e.cross(q / c, q % c);
    quadratic += solution[q] * gram_times(q / c, q % c);
  }
  squares = block_sum<kThreads>(squares);
  linear = block_sum<kThreads>(linear);
  quadratic = block_sum<kThreads>(quadratic);
  if (threadIdx.x == 0) {
    const double rows = e.moments[0], fit = (squares - 2.0 * linear + quadratic) / rows;
    p.residual[blockIdx.x] = rows == 0.0 || fit < 0.0 ? 0.0 : fit;  // NaN stays
  }
  if (map == nullptr) return;
  for (int q = threadIdx.x; q < n * (n + c); q += kThreads) {
    const int i = q / (n + c), j = q % (n + c);
    if (j >= n) {
      map[q] = p.alpha * p.beta * solution[i * c + j - n];
    } else {
      const double shrink = p.l2 > 0.0 ? e.inverse(i, j) * e.scale[i] * e.scale[j] * e.ridge[j] : 0.0;
      map[q] = p.alpha * ((i == j ? 1.0 : 0.0) - shrink);
    }
  }
}

// weights = map times P, an element a thread.
__global__ void __launch_bounds__(kThreads) project_kernel(Problem p, const double* map) {
  const int64_t n = p.columns, all = n + p.targets, q = blockIdx.x * static_cast<int64_t>(kThreads) + threadIdx.x;
  if (q >= p.tries * n * p.width) return;
  const int64_t row = q / p.width, col = q % p.width;
  const double* factors = map + row % n * all;
  const double* from = p.projection + row / n * all * p.width + col;
  double total = 0.0;
  for (int64_t k = 0; k < all; ++k) {
    if (factors[k] != 0.0) total += factors[k] * from[k * p.width];
  }
  p.weights[q] = total;
}

}  // namespace

void ridge_solve_cuda(const ridge_solve::Problem& p, void* workspace, int device, void* stream) {
  if (p.batch == 0) return;
  const DeviceGuard guard(device, kOp);
  const int n = p.columns;
  double* map = p.projection == nullptr ? nullptr : static_cast<double*>(workspace);
  const int doubles = n * n + n * p.targets + 3 * n, bytes = doubles * 8 + n * static_cast<int>(sizeof(int));
  launch_shared(kOp, solve_kernel, static_cast<int>(p.batch), kThreads, bytes, stream, p, map);
  if (map == nullptr) return;
  const int64_t blocks = (p.tries * n * p.width + kThreads - 1) / kThreads;
  launch(kOp, project_kernel, static_cast<int>(blocks), kThreads, stream, p, static_cast<const double*>(map));
}

}  // namespace effdl

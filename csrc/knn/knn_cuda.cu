// A block of threads for each row of a tile of products. If nothing is known yet, the k best upper bounds tell how far
// the k-th nearest key can be at most. Of the keys whose lower bound is not above that, the float64 distance is
// computed and the k best are kept, in a buffer that is sorted whenever it is full.
#include "common/points_cuda.cuh"
#include "knn/knn.h"

namespace effdl {
namespace {

using namespace cuda;

constexpr int kWaiting = 2 * kPairThreads;  // keys whose distances are computed together, at most
static_assert(kKnnShared >= 2 * kWaiting, "half of the places are always free");

// Keys by distance, then index: of all that were put in, the k best. All threads of the block take part.
struct Buffer {
  double* distance;
  int32_t* index;
  int64_t places, k;
  int64_t* count;  // shared

  __device__ void put(int64_t at, double d, int64_t i) const {
    distance[at] = d;
    index[at] = static_cast<int32_t>(i);
  }
  __device__ bool before(int64_t a, int64_t b) const {
    return distance[a] != distance[b] ? distance[a] < distance[b] : index[a] < index[b];
  }
  // Sorts by Batcher's bitonic network, and keeps k.
  __device__ void cut() const {
    __syncthreads();
    const int64_t n = *count;
    int64_t whole = 2;
    while (whole < n) whole *= 2;
    for (int64_t i = n + threadIdx.x; i < whole; i += kPairThreads) put(i, INFINITY, INT32_MAX);
    __syncthreads();
    for (int64_t run = 2; run <= whole; run *= 2) {
      for (int64_t step = run / 2; step > 0; step /= 2) {
        for (int64_t i = threadIdx.x; i < whole / 2; i += kPairThreads) {
          const int64_t a = 2 * i - (i & (step - 1)), b = a + step;
          if (before(b, a) == ((a & run) == 0)) {
            const double d = distance[a];
            const int32_t j = index[a];
            put(a, distance[b], index[b]);
            put(b, d, j);
          }
        }
        __syncthreads();
      }
    }
    if (threadIdx.x == 0 && n > k) *count = k;
    __syncthreads();
  }
  __device__ double kth() const { return *count < k ? INFINITY : distance[k - 1]; }
};

// A row of a tile.
struct Row {
  const KnnTile& t;
  int64_t row;

  __device__ bool is_key(int64_t c) const {
    return c < t.cols && !(t.exclude_self && t.first_row + row == t.first_col + c);
  }
  __device__ float value(int64_t c) const { return t.row_base[row] + t.col_base[c] + t.products[row * t.cols + c]; }
  // How many keys came before this tile.
  __device__ int64_t seen() const { return t.first_col - (t.exclude_self && t.first_row + row < t.first_col ? 1 : 0); }
};

// The least v of a key that may be among the k nearest.
__device__ float first_limit(const Row& r, const Buffer& buffer) {
  double most = INFINITY;
  for (int64_t from = 0; from < r.t.cols; from += kPairThreads) {
    const int64_t c = from + threadIdx.x;
    if (r.is_key(c)) {
      const float upper = r.t.col_slack[c] - r.value(c);
      if (upper <= most) buffer.put(atomicAdd(reinterpret_cast<unsigned long long*>(buffer.count), 1ull), upper, c);
    }
    __syncthreads();
    const bool full = *buffer.count > buffer.places - kPairThreads;
    __syncthreads();
    if (!full) continue;
    buffer.cut();
    most = buffer.kth();
  }
  buffer.cut();
  const double upper = buffer.kth() + r.t.row_slack[r.row];
  __syncthreads();
  if (threadIdx.x == 0) *buffer.count = 0;
  __syncthreads();
  return __double2float_rd(-upper);
}

template <class T>
__device__ void search(const T* queries, const T* keys, const Row& r, const Buffer& buffer, int* waiting,
                       int* waiting_count) {
  const KnnTile& t = r.t;
  const int64_t before = min(r.seen(), t.k);
  double* best = t.best + r.row * t.k;
  int64_t* indices = t.indices + r.row * t.k;
  __syncthreads();
  if (threadIdx.x == 0) *buffer.count = *waiting_count = 0;
  __syncthreads();
  float least = before == 0 ? first_limit(r, buffer) : -INFINITY;
  for (int64_t i = threadIdx.x; i < before; i += kPairThreads) buffer.put(i, best[i], indices[i]);
  if (threadIdx.x == 0) *buffer.count = before;
  __syncthreads();
  if (before == t.k) least = strict_limit(t.frame, buffer.kth());  // strict: of equal keys, later ones come last
  const T* query = queries + (t.first_row + r.row) * t.dims;
  for (int64_t from = 0; from < t.cols; from += kPairThreads) {
    const int64_t c = from + threadIdx.x;
    if (r.is_key(c) && r.value(c) >= least) waiting[atomicAdd(waiting_count, 1)] = static_cast<int>(c);
    __syncthreads();
    const int n = *waiting_count;
    __syncthreads();
    if (n <= kWaiting - kPairThreads && from + kPairThreads < t.cols) continue;
    const int64_t count = *buffer.count;
    for (int first = 0; first < n; first += kGroups) {
      const int i = first + static_cast<int>(threadIdx.x) / kLanes;
      const bool mine = i < n;
      const int64_t key = t.first_col + (mine ? waiting[i] : 0);
      const double distance = exact_distance(query, keys + key * t.dims, mine ? t.dims : 0, t.frame);
      if (mine && threadIdx.x % kLanes == 0) buffer.put(count + i, distance, key);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      *buffer.count = count + n;
      *waiting_count = 0;
    }
    __syncthreads();
    if (count + n <= buffer.places - kWaiting) continue;
    buffer.cut();
    least = fmaxf(least, strict_limit(t.frame, buffer.kth()));
  }
  buffer.cut();
  const int64_t found = *buffer.count;
  const double scale = t.frame.exact_scale;
  for (int64_t i = threadIdx.x; i < found; i += kPairThreads) {
    const double d = buffer.distance[i];
    best[i] = d;
    indices[i] = buffer.index[i];
    if (!t.last) continue;
    const double shown = t.frame.metric == Metric::l2       ? __dsqrt_rn(__dmul_rn(2.0, d)) / scale
                         : t.frame.metric == Metric::cosine ? __dadd_rn(1.0, d)
                                                            : -d / scale / scale;
    if constexpr (std::is_same_v<T, double>) {
      static_cast<double*>(t.distances)[r.row * t.k + i] = shown;
    } else {
      static_cast<float*>(t.distances)[r.row * t.k + i] = static_cast<float>(shown);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kPairThreads)
    knn_kernel(const T* queries, const T* keys, KnnTile t, int64_t places, char* workspace) {
  __shared__ double distance[kKnnShared];
  __shared__ int32_t index[kKnnShared];
  __shared__ int waiting[kWaiting];
  __shared__ int waiting_count;
  __shared__ int64_t count;
  Buffer buffer{distance, index, places, t.k, &count};
  if (places > kKnnShared) {
    buffer.distance = reinterpret_cast<double*>(workspace + blockIdx.x * places * 12);
    buffer.index = reinterpret_cast<int32_t*>(buffer.distance + places);
  }
  for (int64_t row = blockIdx.x; row < t.rows; row += gridDim.x) {
    search(queries, keys, Row{t, row}, buffer, waiting, &waiting_count);
  }
}

}  // namespace

void knn_cuda(const Points& queries, const Points& keys, const KnnTile& tile, void* workspace, int64_t workspace_bytes,
              int device, void* stream) {
  const char* op = "knn";
  const DeviceGuard guard(device, op);
  if (tile.rows == 0 || tile.cols == 0 || tile.k == 0) return;
  const int64_t bytes = knn_block_bytes(tile.k);
  const int blocks =
      static_cast<int>(bytes > 0 && workspace_bytes / bytes < tile.rows ? workspace_bytes / bytes : tile.rows);
  with_features(queries, [&](const auto* data) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
    launch(op, knn_kernel<T>, blocks, kPairThreads, stream, data, static_cast<const T*>(keys.data), tile,
           knn_places(tile.k), static_cast<char*>(workspace));
  });
}

}  // namespace effdl

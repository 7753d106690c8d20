// A tile of products at a time, in squares of kSide x kSide pairs, each for its row and its column, of samples sorted
// by label. Of pairs of different classes: first the best upper bound of the nearest enemy, then the float64 distances
// of the pairs that are not farther. Of pairs of one class: how many are nearer, by bounds and where they leave a doubt
// by float64 distances.
#include "common/points_cuda.cuh"
#include "redundancy_depth/redundancy_depth.h"

namespace effdl {
namespace {

using namespace cuda;

constexpr int kSide = 64, kStep = kPairThreads / kSide;  // a thread has a column of a square and every kStep-th row

// The square of this block: its rows and columns in the tile, and what is known of them. All threads take part.
struct Square {
  int64_t row0, col0;
  int rows, cols;
  bool one_class, no_two_of_a_class;

  __device__ explicit Square(const RedundancyTile& t) {
    const int64_t across = (t.cols + kSide - 1) / kSide;
    row0 = blockIdx.x / across * kSide;
    col0 = blockIdx.x % across * kSide;
    rows = static_cast<int>(min(t.rows - row0, static_cast<int64_t>(kSide)));
    cols = static_cast<int>(min(t.cols - col0, static_cast<int64_t>(kSide)));
    const int64_t col = t.first_col + col0;
    one_class = t.class_end[t.first_row + row0] >= col + cols;
    no_two_of_a_class = t.class_end[t.first_row + row0 + rows - 1] <= col || col + cols - 1 <= t.first_row + row0;
  }
  // The column of the square where the class of a row has ended.
  __device__ int first_enemy(const RedundancyTile& t, int r) const {
    const int64_t first = t.class_end[t.first_row + row0 + r] - (t.first_col + col0);
    return static_cast<int>(max(static_cast<int64_t>(0), min(first, static_cast<int64_t>(cols))));
  }
  // The column of the square behind the sample of a row.
  __device__ int first_behind(const RedundancyTile& t, int r) const {
    const int64_t first = t.first_row + row0 + r + 1 - (t.first_col + col0);
    return static_cast<int>(max(static_cast<int64_t>(0), min(first, static_cast<int64_t>(cols))));
  }
  __device__ float value(const RedundancyTile& t, int r, int c) const {
    return t.row_base[row0 + r] + t.col_base[col0 + c] + t.products[(row0 + r) * t.cols + col0 + c];
  }
};

// Pairs of a square whose float64 distances are wanted.
struct Pairs {
  int count;
  uint16_t list[kSide * kSide];  // row, column and two bits

  __device__ void add(int r, int c, bool by_row, bool by_col) {
    list[atomicAdd(&count, 1)] = static_cast<uint16_t>(r << 8 | c << 2 | (by_row ? 1 : 0) | (by_col ? 2 : 0));
  }
  // body(row, column, by_row, by_col, distance) by one thread for each pair.
  template <class T, class Body>
  __device__ void for_each(const T* features, const RedundancyTile& t, const Square& s, const Body& body) const {
    for (int from = 0; from < count; from += kGroups) {
      const int i = from + static_cast<int>(threadIdx.x) / kLanes;
      const bool mine = i < count;
      const int pair = mine ? list[i] : 0, r = pair >> 8, c = pair >> 2 & (kSide - 1);
      const T* a = features + t.order[t.first_row + s.row0 + r] * t.dims;
      const T* b = features + t.order[t.first_col + s.col0 + c] * t.dims;
      const double distance = exact_distance(a, b, mine ? t.dims : 0, t.frame);
      if (mine && threadIdx.x % kLanes == 0) body(r, c, (pair & 1) != 0, (pair & 2) != 0, distance);
    }
  }
};

// limit[i]: the least v with which a pair may still tell something about the nearest enemy of i.
__global__ void __launch_bounds__(kPairThreads) bound_kernel(RedundancyTile t) {
  __shared__ float least[kSide][kSide + 1];  // v with both slacks: the pair is no farther than that
  const Square s(t);
  if (s.one_class) return;
  const int c = static_cast<int>(threadIdx.x) % kSide;
  for (int r = static_cast<int>(threadIdx.x) / kSide; r < kSide; r += kStep) {
    const bool enemies = r < s.rows && c < s.cols && c >= s.first_enemy(t, r);
    least[r][c] = enemies ? s.value(t, r, c) - t.col_slack[s.col0 + c] - t.row_slack[s.row0 + r] : -INFINITY;
  }
  __syncthreads();
  const int i = static_cast<int>(threadIdx.x) % kSide, part = static_cast<int>(threadIdx.x) / kSide;
  if (part > 1) return;
  float most = -INFINITY;
  for (int j = 0; j < kSide; ++j) most = fmaxf(most, part == 0 ? least[i][j] : least[j][i]);
  if (most > -INFINITY)
    atomicMax(t.limit + (part == 0 ? t.first_row + s.row0 : t.first_col + s.col0) + i, ordered(most));
}

template <class T>
__global__ void __launch_bounds__(kPairThreads) enemy_kernel(const T* features, RedundancyTile t) {
  __shared__ Pairs pairs;
  const Square s(t);
  if (s.one_class) return;
  if (threadIdx.x == 0) pairs.count = 0;
  __syncthreads();
  const int c = static_cast<int>(threadIdx.x) % kSide;
  if (c < s.cols) {
    const float col_limit = from_ordered(t.limit[t.first_col + s.col0 + c]);
    for (int r = static_cast<int>(threadIdx.x) / kSide; r < s.rows; r += kStep) {
      if (c < s.first_enemy(t, r)) continue;
      const float v = s.value(t, r, c);
      const bool by_row = v >= from_ordered(t.limit[t.first_row + s.row0 + r]), by_col = v >= col_limit;
      if (by_row || by_col) pairs.add(r, c, by_row, by_col);
    }
  }
  __syncthreads();
  const auto found = [&](int64_t position, double distance) {
    atomicMin(t.enemy + position, ordered(distance));
    atomicMax(t.limit + position, ordered(strict_limit(t.frame, distance)));
  };
  pairs.for_each(features, t, s, [&](int r, int col, bool by_row, bool by_col, double distance) {
    if (by_row) found(t.first_row + s.row0 + r, distance);
    if (by_col) found(t.first_col + s.col0 + col, distance);
  });
}

template <class T>
__global__ void __launch_bounds__(kPairThreads) count_kernel(const T* features, RedundancyTile t) {
  __shared__ Pairs pairs;
  __shared__ double enemies[2][kSide];  // of rows and of columns
  __shared__ float limits[2][kSide], nears[2][kSide], slacks[2][kSide];
  __shared__ int counts[2][kSide];
  const Square s(t);
  if (s.no_two_of_a_class) return;
  if (threadIdx.x == 0) pairs.count = 0;
  const int side = static_cast<int>(threadIdx.x) / kSide, at = static_cast<int>(threadIdx.x) % kSide;
  const bool is_point = side < 2 && at < (side == 0 ? s.rows : s.cols);
  const int64_t position = (side == 0 ? t.first_row + s.row0 : t.first_col + s.col0) + at;
  if (is_point) {
    const double enemy = from_ordered(t.enemy[position]);
    const float slack = side == 0 ? t.row_slack[s.row0 + at] : t.col_slack[s.col0 + at];
    enemies[side][at] = enemy;
    limits[side][at] = strict_limit(t.frame, enemy);
    nears[side][at] = near(t.frame, enemy, slack);
    slacks[side][at] = slack;
    counts[side][at] = 0;
  }
  __syncthreads();
  int col_count = 0;
  for (int r = side; r < s.rows; r += kStep) {  // the threads of a warp have one row
    const int c = at;
    bool by_row = false, by_col = false;
    if (c >= s.first_behind(t, r) && c < s.first_enemy(t, r)) {
      const float v = s.value(t, r, c);
      by_row = v - slacks[1][c] > nears[0][r];
      by_col = v - slacks[0][r] > nears[1][c];
      const bool row_doubt = !by_row && v >= limits[0][r], col_doubt = !by_col && v >= limits[1][c];
      if (row_doubt || col_doubt) pairs.add(r, c, row_doubt, col_doubt);
    }
    const int row_count = __popc(__ballot_sync(kAllLanes, by_row));
    if (threadIdx.x % kWarp == 0 && row_count > 0) atomicAdd(&counts[0][r], row_count);
    if (by_col) ++col_count;
  }
  if (col_count > 0) atomicAdd(&counts[1][at], col_count);
  __syncthreads();
  pairs.for_each(features, t, s, [&](int r, int c, bool row_doubt, bool col_doubt, double distance) {
    if (row_doubt && distance < enemies[0][r]) atomicAdd(&counts[0][r], 1);
    if (col_doubt && distance < enemies[1][c]) atomicAdd(&counts[1][c], 1);
  });
  __syncthreads();
  if (is_point && counts[side][at] > 0) atomicAdd(t.depth + t.order[position], counts[side][at]);
}

}  // namespace

void redundancy_depth_cuda(const Points& features, const RedundancyTile& tile, bool counting, int device,
                           void* stream) {
  const char* op = "redundancy_depth";
  const DeviceGuard guard(device, op);
  if (tile.rows == 0 || tile.cols == 0) return;
  const int blocks = static_cast<int>(((tile.rows + kSide - 1) / kSide) * ((tile.cols + kSide - 1) / kSide));
  if (!counting) launch(op, bound_kernel, blocks, kPairThreads, stream, tile);
  with_features(features, [&](const auto* data) {
    using T = std::remove_const_t<std::remove_pointer_t<decltype(data)>>;
    launch(op, counting ? count_kernel<T> : enemy_kernel<T>, blocks, kPairThreads, stream, data, tile);
  });
}

}  // namespace effdl

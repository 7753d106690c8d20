// Tiles of bounds single out the keys that may be nearer than the k-th so far; of these the float64 distance is
// computed.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "common/pair_blocks.h"
#include "knn/knn.h"

namespace effdl {
namespace {

using pair_tile::kPanel;
using pair_tile::kRows;

constexpr int64_t kParts = kBlock / kRows;

struct Candidate {
  float value;  // of the tile: the larger, the nearer
  int32_t key;
};

struct Neighbour {
  double distance;
  int32_t key;
  bool operator<(const Neighbour& other) const {
    return distance != other.distance ? distance < other.distance : key < other.key;
  }
};

// Of each of some queries, the keys that may be among its k nearest. They are told apart by their bounds as long as
// that is possible, by their distances at the end.
class Candidates {
 public:
  Candidates(const Distances& distance, const Frame& frame, int64_t queries, int64_t k)
      : distance_(distance),
        frame_(frame),
        k_(k),
        most_(capacity(k)),
        all_(static_cast<size_t>(queries * most_)),
        size_(static_cast<size_t>(queries)),
        limit_(static_cast<size_t>(queries)) {}
  static int64_t capacity(int64_t k) { return 2 * k + 64; }

  void start(int64_t first_query) {
    first_ = first_query;
    std::fill(size_.begin(), size_.end(), 0);
    std::fill(limit_.begin(), limit_.end(), -std::numeric_limits<float>::infinity());
  }
  // A key of which the value does not exceed this is none of the k nearest.
  float limit(int64_t row) const { return limit_[static_cast<size_t>(row)]; }

  // doubt: at least the sum of the slacks of the query and of any key. Keys come in ascending order.
  void offer(int64_t row, const Candidate& found, float doubt, std::vector<Neighbour>& scratch) {
    int64_t& size = size_[static_cast<size_t>(row)];
    of(row)[size++] = found;
    if (size == most_) shrink(row, doubt, scratch);
  }

  // Those of a query by distance, of which the first k are in order.
  void measure(int64_t row, std::vector<Neighbour>& measured) {
    measured.clear();
    for (int64_t i = 0; i < size_[static_cast<size_t>(row)]; ++i) {
      const int32_t key = of(row)[i].key;
      measured.push_back({distance_(first_ + row, key), key});
    }
    const int64_t sorted = std::min(k_, static_cast<int64_t>(measured.size()));
    std::partial_sort(measured.begin(), measured.begin() + sorted, measured.end());
  }

 private:
  Candidate* of(int64_t row) { return all_.data() + row * most_; }

  void shrink(int64_t row, float doubt, std::vector<Neighbour>& scratch) {
    Candidate* const first = of(row);
    int64_t& size = size_[static_cast<size_t>(row)];
    std::nth_element(first, first + (k_ - 1), first + size,
                     [](const Candidate& a, const Candidate& b) { return a.value > b.value; });
    // The k-th is no farther than -value + doubt; what has a lower bound beyond that is out.
    const float least = std::nextafter(first[k_ - 1].value - 1.0001f * doubt, -std::numeric_limits<float>::infinity());
    Candidate* const end =
        std::remove_if(first + k_, first + size, [least](const Candidate& c) { return c.value < least; });
    size = end - first;
    float& limit = limit_[static_cast<size_t>(row)];
    limit = std::max(limit, std::nextafter(least, -std::numeric_limits<float>::infinity()));
    if (size <= k_ + (most_ - k_) / 2) return;
    // Too many that bounds cannot tell apart: their distances can.
    measure(row, scratch);
    for (int64_t i = 0; i < k_; ++i) {
      const int32_t key = scratch[static_cast<size_t>(i)].key;
      std::swap(first[i], *std::find_if(first + i, first + size, [key](const Candidate& c) { return c.key == key; }));
    }
    size = k_;
    limit = std::max(limit, frame_.limit(scratch[static_cast<size_t>(k_ - 1)].distance));
  }

  const Distances& distance_;
  const Frame& frame_;
  int64_t k_, most_, first_ = 0;
  std::vector<Candidate> all_;
  std::vector<int64_t> size_;
  std::vector<float> limit_;
};

struct Task {
  int64_t row, rows;
};

struct Scratch {
  Scratch(const Frame& frame, int64_t most)
      : stripe(frame, most), limit(kBlock), never(kPanel, std::numeric_limits<float>::infinity()) {}
  Stripe stripe;
  std::vector<float> limit, never;
  std::vector<Neighbour> measured;
};

// One block of queries against one block of keys, no slack of which is above `slack`.
void search(const Frame& frame, const Panels& rows, const Panels& cols, float slack, bool exclude_self,
            const Task& task, Candidates& candidates, Scratch& s) {
  s.stripe.load(rows, task.row, task.rows);
  std::fill(s.limit.begin(), s.limit.end(), std::numeric_limits<float>::infinity());
  for (int64_t r = 0; r < task.rows; ++r) s.limit[static_cast<size_t>(r)] = candidates.limit(task.row + r);
  bool wanted[kParts];
  std::fill(wanted, wanted + kParts, true);
  for (int64_t col = 0; col < cols.count; col += kPanel) {
    s.stripe.start(cols, col / kPanel, wanted);
    const uint64_t keys = panel_bits(0, cols.count - col);
    for (int64_t part = 0; part < s.stripe.parts(); ++part) {
      const pair_tile::Tile tile = s.stripe.tile(cols, col / kPanel, part);
      uint64_t hits[kRows];
      if (!frame.kernels().find(tile, s.limit.data() + part * kRows, s.never.data(), hits)) continue;
      for (int64_t r = 0; r < std::min<int64_t>(kRows, task.rows - part * kRows); ++r) {
        uint64_t bits = hits[r] & keys;
        if (bits == 0) continue;
        const int64_t row = task.row + part * kRows + r, self = rows.begin + row - cols.begin - col;
        if (exclude_self) bits &= ~panel_bits(self, self + 1);
        const float doubt = rows.slack[static_cast<size_t>(row)] + slack;
        for (; bits != 0; bits &= bits - 1) {
          const int c = __builtin_ctzll(bits);
          const float value = tile.values[r * kPanel + c];
          if (!(value > candidates.limit(row))) continue;
          candidates.offer(row, {value, static_cast<int32_t>(cols.begin + col + c)}, doubt, s.measured);
        }
        s.limit[static_cast<size_t>(part * kRows + r)] = candidates.limit(row);
      }
    }
  }
}

double shown(double distance, Metric metric, double scale) {
  switch (metric) {
    case Metric::l2:
      return std::sqrt(2.0 * distance) / scale;
    case Metric::cosine:
      return 1.0 + distance;
    default:
      return -distance / scale / scale;  // the square of the scale may be 0
  }
}

}  // namespace

Arithmetic knn_cpu(const Points& queries, const Points& keys, const KnnOptions& options, void* distances,
                   int64_t* indices, BadRows* bad) {
  record_kernel("knn", simd_name(simd_level()));
  Survey seen = survey(keys);
  bad->key = seen.bad_row;
  if (!same_points(queries, keys)) {
    const Survey other = survey(queries);
    bad->query = other.bad_row;
    seen.largest = std::max(seen.largest, other.largest);
    seen.integers = seen.integers && other.integers;
  } else {
    bad->query = bad->key;
  }
  // Bounds by bfloat16 leave too many keys near the k-th in doubt, unless they are exact.
  const Frame chosen(keys, seen, options.metric, options.arithmetic);
  const bool widest = options.arithmetic == Arithmetic::automatic && !chosen.precise();
  const Frame frame = widest ? Frame(keys, seen, options.metric, Arithmetic::float32) : chosen;
  const int64_t k = options.k, most = std::max(queries.n, keys.n);
  if (bad->query >= 0 || bad->key >= 0 || k == 0 || queries.n == 0) return frame.arithmetic();
  const Distances distance(queries, keys, frame);
  std::vector<int32_t> order(static_cast<size_t>(most));
  std::iota(order.begin(), order.end(), 0);

  const int64_t per_point = frame.depth() * static_cast<int64_t>(sizeof(pair_tile::Word)) + 8;
  const int64_t per_query = per_point + Candidates::capacity(k) * static_cast<int64_t>(sizeof(Candidate)) + 12;
  const int64_t row_size = std::min(queries.n, block_size(options.max_workspace / 2 / per_query));
  const int64_t col_size = std::min(keys.n, block_size(options.max_workspace / 2 / per_point));
  Panels rows, cols;
  rows.reserve(frame, row_size);
  cols.reserve(frame, col_size);
  Candidates candidates(distance, frame, row_size, k);
  for (int64_t row = 0; row < queries.n; row += row_size) {
    rows.pack(frame, queries, order.data(), row, std::min(row_size, queries.n - row));
    candidates.start(row);
    std::vector<Task> tasks;  // few queries: smaller blocks, so that there is work for every thread
    const int64_t height = std::min(kBlock, std::max<int64_t>(kRows, rows.count / 16 / kRows * kRows));
    for (int64_t r = 0; r < rows.count; r += height) tasks.push_back({r, std::min(height, rows.count - r)});
    float slack = 0;
    for (int64_t col = 0; col < keys.n; col += col_size) {
      if (row == 0 || col_size < keys.n) {
        cols.pack(frame, keys, order.data(), col, std::min(col_size, keys.n - col));
      }
      slack = std::max(slack, *std::max_element(cols.slack.begin(), cols.slack.begin() + cols.count));
      for_each_task(
          tasks, [&] { return Scratch(frame, height); },
          [&](const Task& task, Scratch& s) {
            search(frame, rows, cols, slack, options.exclude_self, task, candidates, s);
          });
    }
    auto write = [&](int64_t begin, int64_t end) {
      const ExactFloats exact;
      std::vector<Neighbour> found;
      for (int64_t r = begin; r < end; ++r) {
        candidates.measure(r, found);
        for (int64_t i = 0; i < k; ++i) {
          const int64_t at = (row + r) * k + i;
          // Fewer only where features became NaN meanwhile.
          const bool there = i < static_cast<int64_t>(found.size());
          const Neighbour neighbour = there ? found[static_cast<size_t>(i)] : Neighbour{std::nan(""), -1};
          const double value = shown(neighbour.distance, options.metric, frame.exact_scale());
          indices[at] = neighbour.key;
          if (queries.dtype == Dtype::f64) {
            static_cast<double*>(distances)[at] = value;
          } else {
            static_cast<float*>(distances)[at] = static_cast<float>(value);
          }
        }
      }
    };
    parallel_for(0, rows.count, 16, write);
  }
  return frame.arithmetic();
}

}  // namespace effdl

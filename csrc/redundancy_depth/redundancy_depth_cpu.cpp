// Pass 1, over pairs of different classes: the nearest enemy of every sample. Pass 2, over pairs of one class: how many
// are nearer than that. Both visit every pair once, for its row and its column, in tiles of bounds that single out the
// pairs whose float64 distance has to be known. Samples are sorted by label, so that a class is a range.
#include <algorithm>
#include <limits>
#include <mutex>
#include <numeric>

#include "common/pair_blocks.h"
#include "redundancy_depth/redundancy_depth.h"

namespace effdl {
namespace {

using pair_tile::kPanel;
using pair_tile::kRows;
using pair_tile::kValues;

constexpr int64_t kParts = kBlock / kRows;
// A float64 distance takes as long as some pairs in a tile. If more are asked for than one pair in kRare, after
// kFree for each sample, bounds by bfloat16 are too wide for these points.
constexpr int64_t kRare = 64, kFree = 64;

struct Classes {
  std::vector<int32_t> order;       // samples by label; below, a position is a place in it
  std::vector<int32_t> begin, end;  // of a position: the range of its class
};

Classes sort_by_label(const int64_t* labels, int64_t n) {
  Classes c;
  c.order.resize(static_cast<size_t>(n));
  std::iota(c.order.begin(), c.order.end(), 0);
  std::stable_sort(c.order.begin(), c.order.end(), [labels](int32_t a, int32_t b) { return labels[a] < labels[b]; });
  c.begin.resize(static_cast<size_t>(n));
  c.end.resize(static_cast<size_t>(n));
  for (int64_t from = 0; from < n;) {
    int64_t to = from + 1;
    while (to < n && labels[c.order[static_cast<size_t>(to)]] == labels[c.order[static_cast<size_t>(from)]]) ++to;
    std::fill(c.begin.begin() + from, c.begin.begin() + to, static_cast<int32_t>(from));
    std::fill(c.end.begin() + from, c.end.begin() + to, static_cast<int32_t>(to));
    from = to;
  }
  return c;
}

struct Task {
  int64_t row, rows, col, cols;  // of the two Panels
};

// A side of a task: what is known of its points.
struct Side {
  explicit Side(int64_t most)
      : enemy(static_cast<size_t>(most)),
        limit(static_cast<size_t>(most)),
        near(static_cast<size_t>(most)),
        counts(static_cast<size_t>(most)) {}
  std::vector<double> enemy;
  std::vector<float> limit, near;
  std::vector<int32_t> counts;
};

struct Scratch {
  explicit Scratch(const Frame& frame) : stripe(frame), rows(kBlock), cols(kChunk) {}
  Stripe stripe;
  Side rows, cols;
  int64_t distances = 0;
};

class Search {
 public:
  Search(const Points& points, const Classes& classes, int64_t max_workspace)
      : points_(points),
        classes_(classes),
        max_workspace_(max_workspace),
        n_(points.n),
        enemy_(static_cast<size_t>(n_), std::numeric_limits<double>::infinity()),
        counts_(static_cast<size_t>(n_), 0),
        mutexes_(new std::mutex[static_cast<size_t>(n_ / kBlock + 1)]) {}

  // Returns false if it was given up, because bfloat16 leaves too many pairs in doubt. What was found stays found.
  bool find_enemies(const Frame& frame) { return run(frame, false); }
  void count_nearer(const Frame& frame) { run(frame, true); }
  int32_t count(int64_t position) const { return counts_[static_cast<size_t>(position)]; }

 private:
  bool run(const Frame& frame, bool counting);
  void run_tasks(const Frame& frame, const Distances& distance, const Panels& rows, const Panels& cols, bool counting);
  std::vector<Task> tasks_of(const Panels& rows, const Panels& cols, bool counting) const;
  void run_task(const Frame& frame, const Distances& distance, const Panels& rows, const Panels& cols, bool counting,
                const Task& task, Scratch& s);
  void find_tile(const Frame& frame, const Distances& distance, const pair_tile::Tile& tile, int64_t row, int64_t rows,
                 int64_t col, int64_t cols, const float* row_limits, Scratch& s, int64_t part, int64_t panel);
  void count_tile(const Frame& frame, const Distances& distance, const pair_tile::Tile& tile, int64_t row, int64_t rows,
                  int64_t col, int64_t cols, const float* row_slack, const float* col_slack, Scratch& s, int64_t part,
                  int64_t panel);
  // For each row: the columns of the same class behind it, or of other classes.
  void valid_pairs(int64_t row, int64_t rows, int64_t col, int64_t cols, bool same, uint64_t* valid) const;
  void read_side(const Frame& frame, int64_t begin, int64_t count, const float* slack, Side& side);
  void write_side(int64_t begin, int64_t count, bool counting, const Side& side);

  int64_t class_begin(int64_t position) const { return classes_.begin[static_cast<size_t>(position)]; }
  int64_t class_end(int64_t position) const { return classes_.end[static_cast<size_t>(position)]; }
  int64_t sample(int64_t position) const { return classes_.order[static_cast<size_t>(position)]; }

  const Points& points_;
  const Classes& classes_;
  int64_t max_workspace_, n_;
  std::vector<double> enemy_;  // by position: the distance of the nearest enemy known so far
  std::vector<int32_t> counts_;
  std::unique_ptr<std::mutex[]> mutexes_;  // of kBlock positions each
  std::atomic<int64_t> distances_{0}, pairs_{0};
  std::atomic<bool> given_up_{false};
};

bool Search::run(const Frame& frame, bool counting) {
  const Distances distance(points_, points_, frame);
  distances_ = pairs_ = 0;
  given_up_ = false;
  const int64_t per_point = frame.depth() * static_cast<int64_t>(sizeof(pair_tile::Word)) + 8;
  const auto whole_blocks = [](int64_t count) { return std::max<int64_t>(kBlock, count / kBlock * kBlock); };
  const bool at_once = (n_ + kPanel) * per_point <= max_workspace_;
  const int64_t size = at_once ? n_ : std::min(n_, whole_blocks(max_workspace_ / (2 * per_point)));
  Panels rows, cols;
  rows.reserve(frame, size);
  if (!at_once) cols.reserve(frame, size);
  for (int64_t row = 0; row < n_; row += size) {
    rows.pack(frame, points_, classes_.order.data(), row, std::min(size, n_ - row));
    run_tasks(frame, distance, rows, rows, counting);
    for (int64_t col = row + size; col < n_; col += size) {
      if (given_up_) return false;
      const int64_t count = std::min(size, n_ - col);
      if (counting && class_end(rows.end() - 1) <= col) break;
      cols.pack(frame, points_, classes_.order.data(), col, count);
      run_tasks(frame, distance, rows, cols, counting);
    }
  }
  return !given_up_;
}

std::vector<Task> Search::tasks_of(const Panels& rows, const Panels& cols, bool counting) const {
  std::vector<Task> tasks;
  const bool same = &rows == &cols;
  for (int64_t row = 0; row < rows.count; row += kBlock) {
    const int64_t count = std::min(kBlock, rows.count - row);
    const int64_t first = rows.begin + row, last = first + count - 1;
    const int64_t until = counting ? std::min(cols.end(), class_end(last)) - cols.begin : cols.count;
    for (int64_t col = same ? row : 0; col < until; col += kChunk) {
      const int64_t width = std::min(kChunk, until - col);
      const bool one_class = class_end(first) >= std::max(last + 1, cols.begin + col + width);
      if (!counting && one_class) continue;
      tasks.push_back({row, count, col, width});
    }
  }
  return tasks;
}

void Search::run_tasks(const Frame& frame, const Distances& distance, const Panels& rows, const Panels& cols,
                       bool counting) {
  for_each_task(
      tasks_of(rows, cols, counting), [&] { return Scratch(frame); },
      [&](const Task& task, Scratch& scratch) {
        if (!given_up_) run_task(frame, distance, rows, cols, counting, task, scratch);
      });
}

void Search::read_side(const Frame& frame, int64_t begin, int64_t count, const float* slack, Side& side) {
  for (int64_t from = begin; from < begin + count;) {
    const int64_t to = std::min(begin + count, (from / kBlock + 1) * kBlock);
    const std::lock_guard<std::mutex> lock(mutexes_[static_cast<size_t>(from / kBlock)]);
    std::copy(enemy_.begin() + from, enemy_.begin() + to, side.enemy.begin() + (from - begin));
    from = to;
  }
  for (int64_t i = 0; i < count; ++i) {
    const size_t at = static_cast<size_t>(i);
    side.limit[at] = frame.limit(side.enemy[at]);
    side.near[at] = frame.near(side.enemy[at], slack[i]);
    side.counts[at] = 0;
  }
  const float never = std::numeric_limits<float>::infinity();
  std::fill(side.limit.begin() + count, side.limit.end(), never);
  std::fill(side.near.begin() + count, side.near.end(), never);
}

void Search::write_side(int64_t begin, int64_t count, bool counting, const Side& side) {
  for (int64_t from = begin; from < begin + count;) {
    const int64_t to = std::min(begin + count, (from / kBlock + 1) * kBlock);
    const std::lock_guard<std::mutex> lock(mutexes_[static_cast<size_t>(from / kBlock)]);
    for (int64_t p = from; p < to; ++p) {
      const size_t at = static_cast<size_t>(p), mine = static_cast<size_t>(p - begin);
      if (counting) {
        counts_[at] += side.counts[mine];
      } else {
        enemy_[at] = std::min(enemy_[at], side.enemy[mine]);
      }
    }
    from = to;
  }
}

void Search::run_task(const Frame& frame, const Distances& distance, const Panels& rows, const Panels& cols,
                      bool counting, const Task& task, Scratch& s) {
  const int64_t row0 = rows.begin + task.row, col0 = cols.begin + task.col;
  s.stripe.load(rows, task.row, task.rows);
  s.distances = 0;
  read_side(frame, row0, task.rows, rows.slack.data() + task.row, s.rows);
  read_side(frame, col0, task.cols, cols.slack.data() + task.col, s.cols);
  for (int64_t offset = 0; offset < task.cols; offset += kPanel) {
    const int64_t col = col0 + offset, width = std::min<int64_t>(kPanel, task.cols - offset);
    const int64_t panel = (task.col + offset) / kPanel;
    bool wanted[kParts];
    for (int64_t part = 0; part < s.stripe.parts(); ++part) {
      const int64_t row = row0 + part * kRows, last = std::min(row + kRows, row0 + task.rows) - 1;
      const bool behind = col + width - 1 > row;  // some pair has its column behind its row
      const bool apart = class_end(last) <= col || class_begin(row) >= col + width;
      const bool one_class = class_end(row) > last && class_begin(row) <= col && class_end(row) >= col + width;
      wanted[part] = behind && !(counting ? apart : one_class);
    }
    s.stripe.start(cols, panel, wanted);
    for (int64_t part = 0; part < s.stripe.parts(); ++part) {
      if (!wanted[part]) continue;
      const int64_t row = row0 + part * kRows, height = std::min<int64_t>(kRows, row0 + task.rows - row);
      const pair_tile::Tile tile = s.stripe.tile(cols, panel, part);
      if (counting) {
        count_tile(frame, distance, tile, row, height, col, width, rows.slack.data() + (row - rows.begin),
                   cols.slack.data() + panel * kPanel, s, part, offset);
      } else {
        find_tile(frame, distance, tile, row, height, col, width, s.rows.limit.data() + part * kRows, s, part, offset);
      }
    }
  }
  write_side(row0, task.rows, counting, s.rows);
  write_side(col0, task.cols, counting, s.cols);
  const int64_t distances = distances_ += s.distances, pairs = pairs_ += task.rows * task.cols;
  if (!counting && !frame.precise() && distances > pairs / kRare + kFree * n_) given_up_ = true;
}

void Search::valid_pairs(int64_t row, int64_t rows, int64_t col, int64_t cols, bool same, uint64_t* valid) const {
  for (int64_t r = 0; r < kRows; ++r) {
    if (r >= rows) {
      valid[r] = 0;
      continue;
    }
    const uint64_t of_class = panel_bits(class_begin(row + r) - col, class_end(row + r) - col);
    valid[r] = panel_bits(std::max<int64_t>(0, row + r + 1 - col), cols) & (same ? of_class : ~of_class);
  }
}

void Search::find_tile(const Frame& frame, const Distances& distance, const pair_tile::Tile& tile, int64_t row,
                       int64_t rows, int64_t col, int64_t cols, const float* row_limits, Scratch& s, int64_t part,
                       int64_t panel) {
  uint64_t hits[kRows], valid[kRows];
  if (!frame.kernels().find(tile, row_limits, s.cols.limit.data() + panel, hits)) return;
  valid_pairs(row, rows, col, cols, false, valid);
  for (int64_t r = 0; r < rows; ++r) {
    uint64_t bits = hits[r] & valid[r];
    if (bits == 0) continue;
    const float* values = tile.values + r * kPanel;
    double& row_enemy = s.rows.enemy[static_cast<size_t>(part * kRows + r)];
    float& row_limit = s.rows.limit[static_cast<size_t>(part * kRows + r)];
    const auto look = [&](int c) {
      double& col_enemy = s.cols.enemy[static_cast<size_t>(panel + c)];
      float& col_limit = s.cols.limit[static_cast<size_t>(panel + c)];
      if (!(values[c] > row_limit || values[c] > col_limit)) return;
      const double d = distance(sample(row + r), sample(col + c));
      ++s.distances;
      if (d < row_enemy) {
        row_enemy = d;
        row_limit = frame.limit(d);
      }
      if (d < col_enemy) {
        col_enemy = d;
        col_limit = frame.limit(d);
      }
    };
    // The nearest first: most of the others are then out of the question.
    int best = __builtin_ctzll(bits);
    for (uint64_t rest = bits & (bits - 1); rest != 0; rest &= rest - 1) {
      const int c = __builtin_ctzll(rest);
      if (values[c] > values[best]) best = c;
    }
    look(best);
    for (bits &= ~(uint64_t{1} << best); bits != 0; bits &= bits - 1) look(__builtin_ctzll(bits));
  }
}

void Search::count_tile(const Frame& frame, const Distances& distance, const pair_tile::Tile& tile, int64_t row,
                        int64_t rows, int64_t col, int64_t cols, const float* row_slack, const float* col_slack,
                        Scratch& s, int64_t part, int64_t panel) {
  uint64_t valid[kRows], row_doubts[kRows], col_doubts[kRows];
  valid_pairs(row, rows, col, cols, true, valid);
  frame.kernels().accumulate(tile);
  const size_t r0 = static_cast<size_t>(part * kRows), c0 = static_cast<size_t>(panel);
  if (!frame.kernels().count(tile.values, {s.rows.limit.data() + r0, s.rows.near.data() + r0, row_slack},
                             {s.cols.limit.data() + c0, s.cols.near.data() + c0, col_slack}, valid,
                             s.rows.counts.data() + r0, s.cols.counts.data() + c0, row_doubts, col_doubts)) {
    return;
  }
  for (int64_t r = 0; r < rows; ++r) {
    for (uint64_t bits = row_doubts[r] | col_doubts[r]; bits != 0; bits &= bits - 1) {
      const int c = __builtin_ctzll(bits);
      const double d = distance(sample(row + r), sample(col + c));
      const size_t at_row = r0 + static_cast<size_t>(r), at_col = c0 + static_cast<size_t>(c);
      if ((row_doubts[r] >> c & 1) != 0 && d < s.rows.enemy[at_row]) ++s.rows.counts[at_row];
      if ((col_doubts[r] >> c & 1) != 0 && d < s.cols.enemy[at_col]) ++s.cols.counts[at_col];
    }
  }
}

}  // namespace

Arithmetic redundancy_depth_cpu(const Points& features, const int64_t* labels, const RedundancyOptions& options,
                                int32_t* depth, int64_t* bad_row) {
  record_kernel("redundancy_depth", simd_name(simd_level()));
  const int64_t n = features.n;
  const Survey seen = survey(features);
  const Frame frame(features, seen, options.metric, options.arithmetic);
  *bad_row = seen.bad_row;
  if (seen.bad_row >= 0 || n == 0) return frame.arithmetic();
  const Classes classes = sort_by_label(labels, n);
  if (classes.end[0] == n) {  // no enemies
    std::fill(depth, depth + n, static_cast<int32_t>(n - 1));
    return frame.arithmetic();
  }
  Search search(features, classes, options.max_workspace);
  const Frame plain(features, seen, options.metric, Arithmetic::float32);
  const bool found = search.find_enemies(frame);
  if (!found) search.find_enemies(plain);
  search.count_nearer(frame.precise() ? frame : plain);
  for (int64_t p = 0; p < n; ++p) depth[classes.order[static_cast<size_t>(p)]] = search.count(p);
  return found ? frame.arithmetic() : Arithmetic::float32;
}

}  // namespace effdl

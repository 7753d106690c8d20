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

// Which pairs a pass visits: every row with every column, or those of all samples with all, each once.
struct Rows {
  const int32_t* positions;  // ascending; null: row i is position i
  const int32_t* samples;
  int64_t n;
  bool triangular;  // every pair once, from the row in front
  bool both;        // for the column as well as the row

  int64_t position(int64_t row) const { return positions != nullptr ? positions[row] : row; }
};

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

  void never(int64_t from) {  // ask nothing for these points
    std::fill(limit.begin() + from, limit.end(), std::numeric_limits<float>::infinity());
    std::fill(near.begin() + from, near.end(), std::numeric_limits<float>::infinity());
  }
};

struct Scratch {
  Scratch(const Frame& frame, int64_t most) : stripe(frame, most), rows(kBlock), cols(kChunk) {}
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

  Rows all() const { return {nullptr, classes_.order.data(), n_, true, true}; }
  // Lowers enemy() to the nearest enemy. Returns false if it was given up, because bfloat16 leaves too many pairs in
  // doubt; what was found stays found.
  bool find_enemies(const Frame& frame, const Rows& rows) { return run(frame, rows, false); }
  // Sets count() of these rows to the number of samples of their class that are nearer than enemy().
  void count_nearer(const Frame& frame, const Rows& rows) {
    for (int64_t r = 0; r < rows.n; ++r) counts_[static_cast<size_t>(rows.position(r))] = 0;
    run(frame, rows, true);
  }
  int32_t count(int64_t position) const { return counts_[static_cast<size_t>(position)]; }

 private:
  // One part of the pairs: what the functions below need.
  struct Part {
    const Frame& frame;
    const Distances& distance;
    const Rows& set;
    const Panels &rows, &cols;
    bool counting;
  };
  // The pairs of a tile: rows from `row` on (of the set), columns from `col` on (positions), and where these are in the
  // Sides of their task.
  struct Place {
    int64_t row, rows, col, cols;
    size_t row_at, col_at;
  };

  bool run(const Frame& frame, const Rows& set, bool counting);
  void run_part(const Part& part);
  std::vector<Task> tasks_of(const Part& part) const;
  void run_task(const Part& part, const Task& task, Scratch& s);
  void find_tile(const Part& part, const pair_tile::Tile& tile, const Place& at, Scratch& s);
  void count_tile(const Part& part, const pair_tile::Tile& tile, const Place& at, const float* row_slack,
                  const float* col_slack, Scratch& s);
  // For each row: the columns that make a pair with it which is to be looked at.
  void valid_pairs(const Part& part, const Place& at, uint64_t* valid) const;
  template <class Position>
  void read_side(const Frame& frame, int64_t count, const Position& position, const float* slack, Side& side);
  template <class Position>
  void write_side(int64_t count, const Position& position, bool counting, const Side& side);

  std::mutex& mutex_of(int64_t position) { return mutexes_[static_cast<size_t>(position / kBlock)]; }
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

bool Search::run(const Frame& frame, const Rows& set, bool counting) {
  const Distances distance(points_, points_, frame);
  distances_ = pairs_ = 0;
  given_up_ = false;
  const int64_t per_point = frame.depth() * static_cast<int64_t>(sizeof(pair_tile::Word)) + 8;
  const int64_t most = max_workspace_ / per_point;
  const bool at_once = set.triangular && n_ + kPanel <= std::min(most, kMostPoints);
  const int64_t size = at_once ? n_ : std::min(n_, block_size(most / 2));
  Panels rows, cols;
  rows.reserve(frame, std::min(size, set.n));
  if (!at_once) cols.reserve(frame, size);
  for (int64_t row = 0; row < set.n; row += size) {
    rows.pack(frame, points_, set.samples, row, std::min(size, set.n - row));
    if (set.triangular) run_part({frame, distance, set, rows, rows, counting});
    const int64_t first = set.position(row), last = set.position(rows.end() - 1);
    for (int64_t col = set.triangular ? row + size : 0; col < n_; col += size) {
      if (given_up_) return false;
      const int64_t count = std::min(size, n_ - col);
      if (counting && (class_end(last) <= col || class_begin(first) >= col + count)) continue;
      cols.pack(frame, points_, classes_.order.data(), col, count);
      run_part({frame, distance, set, rows, cols, counting});
    }
  }
  return !given_up_;
}

std::vector<Task> Search::tasks_of(const Part& part) const {
  std::vector<Task> tasks;
  const Panels &rows = part.rows, &cols = part.cols;
  for (int64_t row = 0; row < rows.count; row += kBlock) {
    const int64_t count = std::min(kBlock, rows.count - row);
    const int64_t first = part.set.position(rows.begin + row), last = part.set.position(rows.begin + row + count - 1);
    for (int64_t col = &rows == &cols ? row : 0; col < cols.count; col += kChunk) {
      const int64_t width = std::min(kChunk, cols.count - col);
      const int64_t from = cols.begin + col, to = from + width;
      const bool one_class = class_end(first) > last && class_begin(first) <= from && class_end(first) >= to;
      const bool apart = class_end(last) <= from || class_begin(first) >= to;
      if (!(part.counting ? apart : one_class)) tasks.push_back({row, count, col, width});
    }
  }
  return tasks;
}

void Search::run_part(const Part& part) {
  for_each_task(
      tasks_of(part), [&] { return Scratch(part.frame, std::min(kBlock, part.rows.count)); },
      [&](const Task& task, Scratch& scratch) {
        if (!given_up_) run_task(part, task, scratch);
      });
}

template <class Position>
void Search::read_side(const Frame& frame, int64_t count, const Position& position, const float* slack, Side& side) {
  for (int64_t i = 0; i < count; ++i) {
    const size_t at = static_cast<size_t>(i);
    const int64_t p = position(i);
    {
      const std::lock_guard<std::mutex> lock(mutex_of(p));
      side.enemy[at] = enemy_[static_cast<size_t>(p)];
    }
    side.limit[at] = frame.limit(side.enemy[at]);
    side.near[at] = frame.near(side.enemy[at], slack[i]);
    side.counts[at] = 0;
  }
  side.never(count);
}

template <class Position>
void Search::write_side(int64_t count, const Position& position, bool counting, const Side& side) {
  for (int64_t i = 0; i < count; ++i) {
    const size_t at = static_cast<size_t>(i), p = static_cast<size_t>(position(i));
    const std::lock_guard<std::mutex> lock(mutex_of(position(i)));
    if (counting) {
      counts_[p] += side.counts[at];
    } else {
      enemy_[p] = std::min(enemy_[p], side.enemy[at]);
    }
  }
}

void Search::run_task(const Part& part, const Task& task, Scratch& s) {
  const Panels &rows = part.rows, &cols = part.cols;
  const int64_t row0 = rows.begin + task.row, col0 = cols.begin + task.col;
  const auto row_position = [&](int64_t i) { return part.set.position(row0 + i); };
  const auto col_position = [&](int64_t i) { return col0 + i; };
  s.stripe.load(rows, task.row, task.rows);
  s.distances = 0;
  read_side(part.frame, task.rows, row_position, rows.slack.data() + task.row, s.rows);
  if (part.set.both) {
    read_side(part.frame, task.cols, col_position, cols.slack.data() + task.col, s.cols);
  } else {
    s.cols.never(0);
  }
  for (int64_t offset = 0; offset < task.cols; offset += kPanel) {
    const int64_t col = col0 + offset, width = std::min<int64_t>(kPanel, task.cols - offset), after = col + width;
    const int64_t panel = (task.col + offset) / kPanel;
    bool wanted[kParts];
    for (int64_t p = 0; p < s.stripe.parts(); ++p) {
      const int64_t first = row_position(p * kRows);
      const int64_t last = row_position(std::min((p + 1) * kRows, task.rows) - 1);
      const bool behind = !part.set.triangular || after - 1 > first;  // some column is behind its row
      const bool apart = class_end(last) <= col || class_begin(first) >= after;
      const bool one_class = class_end(first) > last && class_begin(first) <= col && class_end(first) >= after;
      wanted[p] = behind && !(part.counting ? apart : one_class);
    }
    s.stripe.start(cols, panel, wanted);
    for (int64_t p = 0; p < s.stripe.parts(); ++p) {
      if (!wanted[p]) continue;
      const int64_t row = p * kRows;
      const Place at{row0 + row,
                     std::min<int64_t>(kRows, task.rows - row),
                     col,
                     width,
                     static_cast<size_t>(row),
                     static_cast<size_t>(offset)};
      const pair_tile::Tile tile = s.stripe.tile(cols, panel, p);
      if (part.counting) {
        count_tile(part, tile, at, rows.slack.data() + task.row + row, cols.slack.data() + panel * kPanel, s);
      } else {
        find_tile(part, tile, at, s);
      }
    }
  }
  write_side(task.rows, row_position, part.counting, s.rows);
  if (part.set.both) write_side(task.cols, col_position, part.counting, s.cols);
  const int64_t distances = distances_ += s.distances, pairs = pairs_ += task.rows * task.cols;
  if (!part.counting && !part.frame.precise() && distances > pairs / kRare + kFree * n_) given_up_ = true;
}

void Search::valid_pairs(const Part& part, const Place& at, uint64_t* valid) const {
  std::fill(valid, valid + kRows, 0);
  for (int64_t r = 0; r < at.rows; ++r) {
    const int64_t p = part.set.position(at.row + r), self = p - at.col;
    const uint64_t of_class = panel_bits(class_begin(p) - at.col, class_end(p) - at.col);
    const uint64_t others = part.set.triangular ? panel_bits(std::max<int64_t>(0, self + 1), at.cols)
                                                : panel_bits(0, at.cols) & ~panel_bits(self, self + 1);
    valid[r] = others & (part.counting ? of_class : ~of_class);
  }
}

void Search::find_tile(const Part& part, const pair_tile::Tile& tile, const Place& at, Scratch& s) {
  uint64_t hits[kRows], valid[kRows];
  if (!part.frame.kernels().find(tile, s.rows.limit.data() + at.row_at, s.cols.limit.data() + at.col_at, hits)) return;
  valid_pairs(part, at, valid);
  for (int64_t r = 0; r < at.rows; ++r) {
    uint64_t bits = hits[r] & valid[r];
    if (bits == 0) continue;
    const float* values = tile.values + r * kPanel;
    const int64_t row_sample = sample(part.set.position(at.row + r));
    const size_t row_at = at.row_at + static_cast<size_t>(r);
    const auto look = [&](int c) {
      const size_t col_at = at.col_at + static_cast<size_t>(c);
      if (!(values[c] > s.rows.limit[row_at] || values[c] > s.cols.limit[col_at])) return;
      const double d = part.distance(row_sample, sample(at.col + c));
      ++s.distances;
      if (d < s.rows.enemy[row_at]) {
        s.rows.enemy[row_at] = d;
        s.rows.limit[row_at] = part.frame.limit(d);
      }
      if (part.set.both && d < s.cols.enemy[col_at]) {
        s.cols.enemy[col_at] = d;
        s.cols.limit[col_at] = part.frame.limit(d);
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

void Search::count_tile(const Part& part, const pair_tile::Tile& tile, const Place& at, const float* row_slack,
                        const float* col_slack, Scratch& s) {
  uint64_t valid[kRows], row_doubts[kRows], col_doubts[kRows];
  valid_pairs(part, at, valid);
  part.frame.kernels().accumulate(tile);
  if (!part.frame.kernels().count(
          tile.values, {s.rows.limit.data() + at.row_at, s.rows.near.data() + at.row_at, row_slack},
          {s.cols.limit.data() + at.col_at, s.cols.near.data() + at.col_at, col_slack}, valid,
          s.rows.counts.data() + at.row_at, s.cols.counts.data() + at.col_at, row_doubts, col_doubts)) {
    return;
  }
  for (int64_t r = 0; r < at.rows; ++r) {
    for (uint64_t bits = row_doubts[r] | col_doubts[r]; bits != 0; bits &= bits - 1) {
      const int c = __builtin_ctzll(bits);
      const double d = part.distance(sample(part.set.position(at.row + r)), sample(at.col + c));
      const size_t row_at = at.row_at + static_cast<size_t>(r), col_at = at.col_at + static_cast<size_t>(c);
      if ((row_doubts[r] >> c & 1) != 0 && d < s.rows.enemy[row_at]) ++s.rows.counts[row_at];
      if ((col_doubts[r] >> c & 1) != 0 && d < s.cols.enemy[col_at]) ++s.cols.counts[col_at];
    }
  }
}

// Of the positions, those that pass.
template <class Pass>
std::vector<int32_t> select(int64_t n, const Pass& pass) {
  std::vector<int32_t> kept;
  for (int64_t p = 0; p < n; ++p) {
    if (pass(p)) kept.push_back(static_cast<int32_t>(p));
  }
  return kept;
}

std::vector<int32_t> samples_of(const std::vector<int32_t>& positions, const Classes& classes) {
  std::vector<int32_t> samples(positions.size());
  for (size_t i = 0; i < positions.size(); ++i) samples[i] = classes.order[static_cast<size_t>(positions[i])];
  return samples;
}

// Counts for one k without the nearest enemies of all: a count below k with respect to any enemy is one with respect to
// the nearest. Returns false where that would not be quicker, which a part of the samples tells.
bool settle_few(const Frame& frame, const Frame& precise, const Classes& classes, int64_t k, Search& search) {
  constexpr int64_t kLeast = 4096, kStrip = 8;   // samples; positions that are taken together
  constexpr int64_t kEnemies = 32, kProbe = 64;  // one strip in so many
  constexpr double kWorth = 0.35;
  const int64_t n = static_cast<int64_t>(classes.order.size());
  if (n < kLeast) return false;
  // Some enemies of every sample.
  std::vector<int32_t> part = select(n, [](int64_t p) { return p / kStrip % kEnemies == 0; });
  std::vector<int32_t> samples = samples_of(part, classes);
  if (!search.find_enemies(frame, {part.data(), samples.data(), static_cast<int64_t>(part.size()), false, true})) {
    return false;
  }
  // How many samples would be left: these meet all samples once more, and those of their class once more.
  const auto redundant = [&](int64_t p) { return search.count(p) >= k; };
  part = select(n, [](int64_t p) { return p / kStrip % kProbe == 1; });
  samples = samples_of(part, classes);
  search.count_nearer(precise, {part.data(), samples.data(), static_cast<int64_t>(part.size()), false, false});
  const double left = static_cast<double>(std::count_if(part.begin(), part.end(), redundant));
  double within = 0;  // share of pairs that are of one class
  for (int64_t p = 0; p < n; ++p) within += classes.end[static_cast<size_t>(p)] - classes.begin[static_cast<size_t>(p)];
  within /= static_cast<double>(n) * static_cast<double>(n);
  if (left * (1 + 2 * within) > kWorth * static_cast<double>(part.size())) return false;

  search.count_nearer(precise, search.all());
  part = select(n, redundant);
  samples = samples_of(part, classes);
  const Rows rows{part.data(), samples.data(), static_cast<int64_t>(part.size()), false, false};
  if (!search.find_enemies(frame, rows)) search.find_enemies(precise, rows);
  search.count_nearer(precise, rows);
  return true;
}

}  // namespace

RedundancyRun redundancy_depth_cpu(const Points& features, const int64_t* labels, const RedundancyOptions& options,
                                   int32_t* depth) {
  record_kernel(options.k > 0 ? "k_redundant" : "redundancy_depth", simd_name(simd_level()));
  const int64_t n = features.n;
  const Survey seen = survey(features);
  const Frame frame(features, seen, options.metric, options.arithmetic);
  RedundancyRun done{seen.bad_row, frame.arithmetic(), false};
  if (seen.bad_row >= 0 || n == 0) return done;
  const Classes classes = sort_by_label(labels, n);
  if (classes.end[0] == n) {  // no enemies
    std::fill(depth, depth + n, static_cast<int32_t>(n - 1));
    return done;
  }
  const Frame plain(features, seen, options.metric, Arithmetic::float32);
  const Frame& precise = frame.precise() ? frame : plain;
  Search search(features, classes, options.max_workspace);
  done.settled = options.k > 0 && settle_few(frame, precise, classes, options.k, search);
  if (!done.settled) {
    if (!search.find_enemies(frame, search.all())) {
      search.find_enemies(precise, search.all());
      done.arithmetic = precise.arithmetic();
    }
    search.count_nearer(precise, search.all());
  }
  for (int64_t p = 0; p < n; ++p) depth[classes.order[static_cast<size_t>(p)]] = search.count(p);
  return done;
}

}  // namespace effdl

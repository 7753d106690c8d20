// Blocks of points on the two sides of tiles (pair_tile.h), and the order in which tiles are computed.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <vector>

#include "common/exact_floats.h"
#include "common/parallel.h"
#include "common/points.h"

namespace effdl {

constexpr int64_t kBlock =
    192;  // points whose words a core keeps near while others pass: a multiple of kPanel and kRows
constexpr int64_t kChunk = 768;  // points that pass in one task: a multiple of kBlock

constexpr int64_t kMostPoints = 1 << 17;  // of a block, whatever the memory: its tasks are listed

// How many points a block has if memory suffices for `count`: whole panels, one at least.
inline int64_t block_size(int64_t count) {
  const int64_t unit = count >= kBlock ? kBlock : pair_tile::kPanel;
  return std::min(kMostPoints / kBlock * kBlock, std::max(unit, count / unit * unit));
}

struct FreeWords {
  void operator()(pair_tile::Word* p) const { std::free(p); }
};
using Words = std::unique_ptr<pair_tile::Word[], FreeWords>;

inline Words aligned_words(int64_t count) {
  const size_t bytes = (static_cast<size_t>(count) * sizeof(pair_tile::Word) + 63) / 64 * 64;
  Words words(static_cast<pair_tile::Word*>(std::aligned_alloc(64, std::max<size_t>(bytes, 64))));
  if (!words) throw std::bad_alloc();
  return words;
}

// Points in panels: the columns of tiles.
struct Panels {
  int64_t begin = 0, count = 0;  // which part of an order
  Words words;
  std::vector<float> base, slack;

  int64_t end() const { return begin + count; }
  void reserve(const Frame& frame, int64_t most) {
    most = (most + pair_tile::kPanel - 1) / pair_tile::kPanel * pair_tile::kPanel;
    words = aligned_words(most * frame.depth());
    base.resize(static_cast<size_t>(most));
    slack.resize(static_cast<size_t>(most));
  }
  void pack(const Frame& frame, const Points& points, const int32_t* order, int64_t from, int64_t n) {
    begin = from;
    count = n;
    frame.pack(points, order + from, n, words.get(), base.data(), slack.data());
  }
  const pair_tile::Word* panel(int64_t p, int64_t depth) const { return words.get() + p * depth * pair_tile::kPanel; }
};

// Up to kBlock points of panels, as the rows of tiles; and the values of tiles whose points are longer than what is
// multiplied in one go.
class Stripe {
 public:
  // most: of the points that are loaded at once, up to kBlock.
  Stripe(const Frame& frame, int64_t most);
  // Points [first, first + count) of `from`; first is a multiple of kPanel.
  void load(const Panels& from, int64_t first, int64_t count);
  int64_t parts() const { return (count_ + pair_tile::kRows - 1) / pair_tile::kRows; }
  const float* base(int64_t part) const { return base_.data() + part * pair_tile::kRows; }
  // The tile of kRows rows and a panel, ready for the last step; start(panel) must have been called for the panel.
  pair_tile::Tile tile(const Panels& cols, int64_t panel, int64_t part);
  // Multiplies all but what tile() leaves, for the parts with wanted[part].
  void start(const Panels& cols, int64_t panel, const bool* wanted);

 private:
  const Frame& frame_;
  int64_t depth_, head_, count_ = 0;
  Words words_;
  std::vector<float> base_, values_;
};

// body(task, scratch) for every task on all threads, each with its own scratch = make().
template <class Task, class Make, class Body>
void for_each_task(const std::vector<Task>& tasks, const Make& make, const Body& body) {
  std::atomic<size_t> next{0};
  auto worker = [&](int64_t, int64_t) {
    const ExactFloats exact;
    size_t task = next.fetch_add(1);
    if (task >= tasks.size()) return;
    auto scratch = make();
    for (; task < tasks.size(); task = next.fetch_add(1)) body(tasks[task], scratch);
  };
  parallel_for(0, std::min<int64_t>(static_cast<int64_t>(tasks.size()), 256), 1, worker);
}

// Bits [begin, end) of a panel, whatever part of that lies in it.
inline uint64_t panel_bits(int64_t begin, int64_t end) {
  begin = std::max<int64_t>(begin, 0);
  end = std::min<int64_t>(end, pair_tile::kPanel);
  if (begin >= end) return 0;
  return ((uint64_t{1} << end) - 1) & ~((uint64_t{1} << begin) - 1);
}

}  // namespace effdl

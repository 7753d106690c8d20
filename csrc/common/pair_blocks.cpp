#include "common/pair_blocks.h"

#include <string.h>

namespace effdl {

using pair_tile::kPanel;
using pair_tile::kRows;
using pair_tile::kValues;
using pair_tile::Tile;
using pair_tile::Word;

namespace {
constexpr int64_t kWords = 1024;  // of a point that are multiplied in one go: a panel of them stays in the second cache
}

Stripe::Stripe(const Frame& frame, int64_t most)
    : frame_(frame),
      depth_(frame.depth()),
      head_((depth_ - 1) / kWords * kWords),
      words_(aligned_words((most + kRows - 1) / kRows * kRows * depth_)),
      base_(kBlock),
      values_(head_ > 0 ? kBlock * kPanel : kValues) {}

void Stripe::load(const Panels& from, int64_t first, int64_t count) {
  count_ = count;
  for (int64_t part = 0; part < parts(); ++part) {
    const int64_t row = first + part * kRows;
    const Word* source = from.panel(row / kPanel, depth_) + row % kPanel;
    Word* to = words_.get() + part * depth_ * kRows;
    for (int64_t k = 0; k < depth_; ++k) memcpy(to + k * kRows, source + k * kPanel, kRows * sizeof(Word));
    memcpy(base_.data() + part * kRows, from.base.data() + row, kRows * sizeof(float));
  }
}

void Stripe::start(const Panels& cols, int64_t panel, const bool* wanted) {
  for (int64_t k = 0; k < head_; k += kWords) {
    for (int64_t part = 0; part < parts(); ++part) {
      if (!wanted[part]) continue;
      frame_.kernels().accumulate({words_.get() + (part * depth_ + k) * kRows, cols.panel(panel, depth_) + k * kPanel,
                                   kWords, base(part), cols.base.data() + panel * kPanel,
                                   values_.data() + part * kValues, k > 0});
    }
  }
}

Tile Stripe::tile(const Panels& cols, int64_t panel, int64_t part) {
  return {words_.get() + (part * depth_ + head_) * kRows,
          cols.panel(panel, depth_) + head_ * kPanel,
          depth_ - head_,
          base(part),
          cols.base.data() + panel * kPanel,
          values_.data() + (head_ > 0 ? part * kValues : 0),
          head_ > 0};
}

}  // namespace effdl

// Outputs too large for the cache are written past it, and into huge pages where they are new: a page fault per 4 KiB
// costs more than most kernels.
#pragma once
#include <cstdint>

namespace effdl {

constexpr int64_t kLargeOutput = int64_t{8} << 20;  // bytes; the gain is measured in docs/ops/exp_ga_loss.md

// Advises the system that these bytes are going to be written. Nothing happens to smaller outputs, to memory that is
// there already, and where there are no huge pages.
void expect_output(void* data, int64_t bytes);

}  // namespace effdl

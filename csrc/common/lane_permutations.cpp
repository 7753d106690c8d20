#include "common/lane_permutations.h"

namespace effdl::lanes {
namespace {

struct Tables {
  uint8_t expand[256][8];
  uint8_t compress[256][8];
  uint16_t to_the_end[17][16];
};

constexpr Tables make() {
  Tables t{};
  for (int mask = 0; mask < 256; ++mask) {
    int count = 0;
    for (int lane = 0; lane < 8; ++lane) count += (mask >> lane) & 1;
    int position = 0;
    for (int lane = 0; lane < 8; ++lane) {
      if (((mask >> lane) & 1) == 0) continue;
      t.expand[mask][lane] = static_cast<uint8_t>(position);
      t.compress[mask][8 - count + position] = static_cast<uint8_t>(lane);
      ++position;
    }
  }
  for (int count = 0; count <= 16; ++count) {
    for (int i = 16 - count; i < 16; ++i) t.to_the_end[count][i] = static_cast<uint16_t>(i - (16 - count));
  }
  return t;
}

constexpr Tables tables = make();

}  // namespace

extern const uint8_t (*const expand8)[8] = tables.expand;
extern const uint8_t (*const compress8)[8] = tables.compress;
extern const uint16_t (*const to_the_end16)[16] = tables.to_the_end;

}  // namespace effdl::lanes

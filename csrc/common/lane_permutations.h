// Permutations that move the chosen ones of a vector's lanes together, by mask; for machines without vpexpand.
#pragma once
#include <cstdint>

namespace effdl::lanes {

extern const uint8_t (*const expand8)[8];         // [mask][lane]: the position of lane among the chosen lanes
extern const uint8_t (*const compress8)[8];       // [mask][position]: the chosen lanes in order, at the end
extern const uint16_t (*const to_the_end16)[16];  // [count][position]: moves the first `count` of 16 words to the end

}  // namespace effdl::lanes

// In place of torch's threads: two parts, the second one first, so that code which relies on their order shows.
#include "common/parallel.h"

namespace effdl {

void parallel_for_raw(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* context) {
  const int64_t middle = begin + (end - begin) / 2;
  if (middle - begin < grain || end - middle < grain) return fn(begin, end, context);
  fn(middle, end, context);
  fn(begin, middle, context);
}

}  // namespace effdl

// parallel_for on torch's own thread pool, so that torch.set_num_threads governs effdl_fast too.
#pragma once
#include <cstdint>

namespace effdl {

// Finds torch_parallel_for in the libtorch_cpu that is already loaded. Throws std::runtime_error if it is not there.
void init_parallel();

using RangeFn = void (*)(int64_t begin, int64_t end, void* context);
void parallel_for_raw(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* context);

// body(begin, end) on disjoint sub-ranges of at least `grain` items; body must not throw.
template <class Body>
void parallel_for(int64_t begin, int64_t end, int64_t grain, Body& body) {
  if (end - begin <= grain) {
    if (begin < end) body(begin, end);
    return;
  }
  parallel_for_raw(begin, end, grain, [](int64_t b, int64_t e, void* c) { (*static_cast<Body*>(c))(b, e); }, &body);
}

}  // namespace effdl

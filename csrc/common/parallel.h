// parallel_for on torch's own thread pool, so that torch.set_num_threads governs effdl_fast too.
#pragma once
#include <cstdint>
#include <exception>
#include <mutex>

namespace effdl {

// Finds torch_parallel_for in the libtorch_cpu that is already loaded. Throws std::runtime_error if it is not there.
void init_parallel();

using RangeFn = void (*)(int64_t begin, int64_t end, void* context);
void parallel_for_raw(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* context);

// body(begin, end) on disjoint sub-ranges of at least `grain` items. An exception of one of them comes out of the call,
// once all have ended.
template <class Body>
void parallel_for(int64_t begin, int64_t end, int64_t grain, Body& body) {
  if (end - begin <= grain) {
    if (begin < end) body(begin, end);
    return;
  }
  struct Task {
    Body& body;
    std::mutex mutex;
    std::exception_ptr error;
  } task{body, {}, nullptr};
  const auto run = [](int64_t b, int64_t e, void* context) {
    Task& t = *static_cast<Task*>(context);
    try {
      t.body(b, e);
    } catch (...) {  // must not cross torch's C interface
      const std::lock_guard<std::mutex> lock(t.mutex);
      t.error = std::current_exception();
    }
  };
  parallel_for_raw(begin, end, grain, run, &task);
  if (task.error != nullptr) std::rethrow_exception(task.error);
}

}  // namespace effdl

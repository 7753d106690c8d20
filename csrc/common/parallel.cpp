#include "common/parallel.h"

#include <dlfcn.h>

#include <stdexcept>

namespace effdl {
namespace {
using TorchParallelFor = void (*)(int64_t, int64_t, int64_t, RangeFn, void*);
TorchParallelFor torch_parallel_for_ = nullptr;
}  // namespace

void init_parallel() {
#ifdef __APPLE__
  const char* library = "@rpath/libtorch_cpu.dylib";
#else
  const char* library = "libtorch_cpu.so";
#endif
  void* handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
  if (handle != nullptr) {
    torch_parallel_for_ = reinterpret_cast<TorchParallelFor>(dlsym(handle, "torch_parallel_for"));
    dlclose(handle);  // RTLD_NOLOAD took a second reference; torch keeps its own
  }
  if (torch_parallel_for_ == nullptr) {
    throw std::runtime_error("effdl_fast needs torch >= 2.11: libtorch_cpu exports no torch_parallel_for");
  }
}

void parallel_for_raw(int64_t begin, int64_t end, int64_t grain, RangeFn fn, void* context) {
  torch_parallel_for_(begin, end, grain, fn, context);
}

}  // namespace effdl

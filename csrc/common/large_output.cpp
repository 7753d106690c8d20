#include "common/large_output.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace effdl {

void expect_output(void* data, int64_t bytes) {
#ifdef __linux__
  if (bytes < kLargeOutput) return;
  constexpr uintptr_t kHugePage = uintptr_t{2} << 20;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(data) + kHugePage - 1) / kHugePage * kHugePage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(data) + static_cast<uintptr_t>(bytes)) / kHugePage * kHugePage;
  // Advice only: where the kernel refuses it, pages stay small.
  if (end > begin) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)data, (void)bytes;
#endif
}

}  // namespace effdl

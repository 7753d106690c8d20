#include "common/simd.h"

#include <atomic>
#include <cstdlib>
#include <stdexcept>
#ifdef EFFDL_X86_SIMD
#include <cpuid.h>
#endif

namespace effdl {
namespace {

std::atomic<Simd> level_{Simd::scalar};
std::atomic<const char*> last_op_{nullptr};
std::atomic<const char*> last_backend_{nullptr};

#ifdef EFFDL_X86_SIMD
bool has_f16c() {  // clang 14 and older do not know it in __builtin_cpu_supports
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}
#endif

bool available(Simd level) {
  if (level == Simd::scalar) return true;
#ifdef EFFDL_X86_SIMD
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
  if (level == Simd::avx2) return avx2;
  return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#else
  return false;
#endif
}

}  // namespace

const char* simd_name(Simd level) { return level == Simd::avx512 ? "avx512" : level == Simd::avx2 ? "avx2" : "scalar"; }

std::vector<Simd> simd_levels() {
  std::vector<Simd> levels;
  for (Simd l : {Simd::scalar, Simd::avx2, Simd::avx512}) {
    if (available(l)) levels.push_back(l);
  }
  return levels;
}

Simd simd_level() { return level_.load(std::memory_order_relaxed); }

void set_simd_level(const std::string& name) {
  const std::vector<Simd> levels = simd_levels();
  if (name == "auto" || name.empty()) return level_.store(levels.back());
  std::string offered;
  for (Simd l : levels) {
    if (name == simd_name(l)) return level_.store(l);
    offered += std::string(offered.empty() ? "" : ", ") + simd_name(l);
  }
  throw std::invalid_argument("EFFDL_SIMD: level '" + name + "' is not available here (available: auto, " + offered +
                              ")");
}

void init_simd() {
  const char* forced = std::getenv("EFFDL_SIMD");
  set_simd_level(forced == nullptr ? "auto" : forced);
}

void record_kernel(const char* op, const char* backend) {
  last_op_.store(op, std::memory_order_relaxed);
  last_backend_.store(backend, std::memory_order_relaxed);
}

std::string last_kernel() {
  const char* op = last_op_.load();
  return op == nullptr ? std::string() : std::string(op) + "." + last_backend_.load();
}

}  // namespace effdl

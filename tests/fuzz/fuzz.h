// What the fuzzers share. A target defines libFuzzer's LLVMFuzzerTestOneInput, and a mutator that mends what would be
// refused at once, such as a wrong size, so that mutations get further.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "common/simd.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed);
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);  // by the engine

namespace effdl::fuzz {

extern int64_t interesting;  // inputs that were decoded and not refused

[[noreturn]] inline void fail(const char* what) {
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

// Memory of exactly this size, so that a sanitizer sees every step beyond; `from` is copied into it.
inline std::unique_ptr<uint8_t[]> exactly(const uint8_t* from, size_t size) {
  std::unique_ptr<uint8_t[]> copy(new uint8_t[size]);
  if (size != 0) std::memcpy(copy.get(), from, size);
  return copy;
}

// run(level) at every SIMD level that this CPU has.
template <class Run>
void at_every_level(const Run& run) {
  for (const Simd level : simd_levels()) {
    set_simd_level(simd_name(level));
    run(level);
  }
}

}  // namespace effdl::fuzz

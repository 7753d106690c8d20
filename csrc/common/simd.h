// Which instruction set the CPU kernels use: the best that was compiled and that this CPU has, or what EFFDL_SIMD
// (scalar|avx2|avx512) forces. Also records which kernel ran last, so that a test can prove which backend it tested.
#pragma once
#include <string>
#include <vector>

// A pointer to something that only exists in x86 builds, null elsewhere.
#ifdef EFFDL_X86_SIMD
#define EFFDL_IF_X86(pointer) (pointer)
#else
#define EFFDL_IF_X86(pointer) nullptr
#endif

namespace effdl {

enum class Simd { scalar = 0, avx2 = 1, avx512 = 2 };

const char* simd_name(Simd level);
std::vector<Simd> simd_levels();  // compiled in and present on this CPU, ascending
Simd simd_level();

// Throws std::invalid_argument for an unknown or unavailable level; "auto" chooses the best.
void set_simd_level(const std::string& name);
void init_simd();  // applies EFFDL_SIMD

void record_kernel(const char* op, const char* backend);  // string literals only
std::string last_kernel();                                // "exp_ga_loss.avx512", "" before the first call

}  // namespace effdl

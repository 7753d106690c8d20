// What this binary was built with, for `effdl info` and bug reports.
#pragma once
#include <string>
#include <vector>

namespace effdl {

struct BuildInfo {
  std::string version, compiler;
  bool cuda = false;
  std::string cuda_version;             // empty without CUDA
  std::vector<std::string> cuda_archs;  // as CMAKE_CUDA_ARCHITECTURES
  bool sanitized = false;               // under AddressSanitizer and UndefinedBehaviorSanitizer
};

BuildInfo build_info();

}  // namespace effdl

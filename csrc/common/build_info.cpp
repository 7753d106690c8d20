#include "common/build_info.h"

#include <sstream>

namespace effdl {

BuildInfo build_info() {
  BuildInfo info;
  info.version = EFFDL_VERSION;
  info.compiler = EFFDL_COMPILER;
#ifdef EFFDL_WITH_CUDA
  info.cuda = true;
  info.cuda_version = EFFDL_CUDA_VERSION;
  std::istringstream archs(EFFDL_CUDA_ARCHS);
  for (std::string arch; std::getline(archs, arch, ',');) info.cuda_archs.push_back(arch);
#endif
#ifdef EFFDL_SANITIZED
  info.sanitized = true;
#endif
  return info;
}

}  // namespace effdl

#include "common/build_info.h"

#include "common/simd.h"

namespace py = pybind11;

namespace effdl {

py::dict build_info() {
  py::list levels, archs;
  for (Simd l : simd_levels()) levels.append(simd_name(l));
  py::dict info;
  info["version"] = EFFDL_VERSION;
  info["compiler"] = EFFDL_COMPILER;
#ifdef EFFDL_WITH_CUDA
  info["cuda"] = true;
  info["cuda_version"] = EFFDL_CUDA_VERSION;
  for (py::handle a : py::str(EFFDL_CUDA_ARCHS).attr("split")(",")) archs.append(a);
#else
  info["cuda"] = false;
  info["cuda_version"] = py::none();
#endif
  info["cuda_archs"] = archs;
  info["simd_levels"] = levels;
  return info;
}

}  // namespace effdl

#include <pybind11/pybind11.h>

#include <string>

#include "common/build_info.h"
#include "common/simd.h"

namespace py = pybind11;

namespace effdl {

static py::dict build_info_dict() {
  const BuildInfo built = build_info();
  py::list archs, levels;
  for (const std::string& a : built.cuda_archs) archs.append(a);
  for (Simd l : simd_levels()) levels.append(simd_name(l));
  py::dict d;
  d["version"] = built.version;
  d["compiler"] = built.compiler;
  d["cuda"] = built.cuda;
  d["cuda_version"] = built.cuda ? py::object(py::str(built.cuda_version)) : py::none();
  d["cuda_archs"] = archs;
  d["simd_levels"] = levels;
  d["sanitized"] = built.sanitized;
  return d;
}

void bind_build_info(py::module_& m) {
  m.def("build_info", &build_info_dict);
  m.def("simd_level", [] { return simd_name(simd_level()); });
  m.def("set_simd_level", &set_simd_level, py::arg("name"));
  m.def("last_kernel", &last_kernel);
}

}  // namespace effdl

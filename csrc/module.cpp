// Table of contents of the compiled module effdl_fast._C: one line per op.
#include <pybind11/pybind11.h>

#include <string>

#include "common/build_info.h"
#include "common/parallel.h"
#include "common/simd.h"
#include "common/tensor_view.h"

namespace py = pybind11;

namespace effdl {
void bind_exp_ga_loss(py::module_& m);
void bind_pow3_ga_loss(py::module_& m);
void bind_linear_ga_loss(py::module_& m);
void bind_ga_loss_scale(py::module_& m);
void bind_crc32c(py::module_& m);
}  // namespace effdl

static py::dict build_info() {
  const effdl::BuildInfo built = effdl::build_info();
  py::list archs, levels;
  for (const std::string& a : built.cuda_archs) archs.append(a);
  for (effdl::Simd l : effdl::simd_levels()) levels.append(effdl::simd_name(l));
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

PYBIND11_MODULE(_C, m) {
  m.doc() =
      "Compiled kernels of effdl_fast. Use effdl_fast.ops: these raw forms allocate nothing and know no autograd.";
  effdl::init_tensor_views();
  effdl::init_parallel();
  effdl::init_simd();
  m.def("build_info", &build_info);
  m.def("simd_level", [] { return effdl::simd_name(effdl::simd_level()); });
  m.def("set_simd_level", &effdl::set_simd_level, py::arg("name"));
  m.def("last_kernel", &effdl::last_kernel);
  effdl::bind_exp_ga_loss(m);
  effdl::bind_pow3_ga_loss(m);
  effdl::bind_linear_ga_loss(m);
  effdl::bind_ga_loss_scale(m);
  effdl::bind_crc32c(m);
}

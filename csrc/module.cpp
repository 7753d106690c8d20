// Table of contents of the compiled module effdl_fast._C: one line per op.
#include <pybind11/pybind11.h>

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
}  // namespace effdl

PYBIND11_MODULE(_C, m) {
  m.doc() =
      "Compiled kernels of effdl_fast. Use effdl_fast.ops: these raw forms allocate nothing and know no autograd.";
  effdl::init_tensor_views();
  effdl::init_parallel();
  effdl::init_simd();
  m.def("build_info", &effdl::build_info);
  m.def("simd_level", [] { return effdl::simd_name(effdl::simd_level()); });
  m.def("set_simd_level", &effdl::set_simd_level, py::arg("name"));
  m.def("last_kernel", &effdl::last_kernel);
  effdl::bind_exp_ga_loss(m);
  effdl::bind_pow3_ga_loss(m);
  effdl::bind_linear_ga_loss(m);
  effdl::bind_ga_loss_scale(m);
}

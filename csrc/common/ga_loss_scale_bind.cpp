#ifdef EFFDL_WITH_CUDA
#include "common/ga_loss_cuda.h"
#endif
#include "common/half.h"
#include "common/tensor_view.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "ga_loss_scale";

// A scalar upstream gradient on the CPU, times the deferred 1/denominator: the factor of the whole gradient.
double cpu_factor(py::handle upstream, py::handle norm) {
  const TensorView u = view(upstream, kOp, "upstream");
  if (u.is_cuda() || u.numel() != 1) fail_value(kOp, "upstream must be one number on the CPU, got " + describe(u));
  double factor = 0.0;
  if (u.dtype == Dtype::f32) {
    factor = *static_cast<const float*>(u.data);
  } else if (u.dtype == Dtype::f64) {
    factor = *static_cast<const double*>(u.data);
  } else if (u.dtype == Dtype::f16) {
    factor = half_to_float(*static_cast<const uint16_t*>(u.data));
  } else if (u.dtype == Dtype::bf16) {
    factor = bfloat16_to_float(*static_cast<const uint16_t*>(u.data));
  } else {
    fail_type(kOp, "upstream must be floating point, got " + describe(u));
  }
  if (!norm.is_none()) factor *= *static_cast<const float*>(view(norm, kOp, "norm").data);
  return factor;
}

}  // namespace

void bind_ga_loss_scale(py::module_& m) {
  m.def("ga_loss_cpu_factor", &cpu_factor, py::arg("upstream"), py::arg("norm"));
}

}  // namespace effdl

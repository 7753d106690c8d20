// What the backward of the GA losses needs: the gradient of the forward times the upstream gradient.
#include "common/half.h"
#include "common/tensor_view.h"
#ifdef EFFDL_WITH_CUDA
#include "common/ga_loss_cuda.h"
#endif

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "ga_loss_scale";

const float* norm_data(py::handle norm) {
  if (norm.is_none()) return nullptr;
  const TensorView d = view(norm, kOp, "norm");
  if (d.dtype != Dtype::f32 || d.numel() != 1) fail_type(kOp, "norm must be one float32, got " + describe(d));
  return static_cast<const float*>(d.data);
}

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
  const float* n = norm_data(norm);
  return n == nullptr ? factor : factor * *n;
}

#ifdef EFFDL_WITH_CUDA

using ga_loss::Strides;

Strides class_strides(const TensorView& t) {
  if (t.ndim == 1) return {0, t.strides[0], 0};
  return {t.strides[0], t.strides[1], t.ndim == 3 ? t.strides[2] : 0};
}

// out = grad * upstream (one number, or one per sample) * norm. grad and out (C,), (N, C) or (N, C, S); see
// ga_loss_cuda.h.
void scale(py::handle grad, py::handle upstream, py::handle norm, py::handle out) {
  const TensorView g = view(grad, kOp, "grad"), u = view(upstream, kOp, "upstream"), o = view(out, kOp, "out");
  if (!g.is_cuda()) fail_value(kOp, "grad must be on a CUDA device, got " + describe(g));
  check_same_device(u, g, kOp, "upstream", "grad");
  check_same_device(o, g, kOp, "out", "grad");
  if (!is_floating(g.dtype) || g.ndim < 1 || g.ndim > 3) fail_value(kOp, "grad must be (C,), (N, C) or (N, C, S)");
  if (o.dtype != g.dtype || o.ndim != g.ndim) fail_type(kOp, "out must match grad, got " + describe(o));
  for (int i = 0; i < g.ndim; ++i) {
    if (o.shape[i] != g.shape[i]) fail_value(kOp, "out must have the shape of grad, got " + describe(o));
  }
  if (u.dtype != g.dtype && u.dtype != Dtype::f32) fail_type(kOp, "upstream must have the dtype of grad or float32");
  ga_loss::Scaling s;
  s.n = g.ndim == 1 ? 1 : g.shape[0];
  s.classes = g.shape[g.ndim == 1 ? 0 : 1];
  s.inner = g.ndim == 3 ? g.shape[2] : 1;
  s.dtype = g.dtype;
  s.grad = g.data;
  s.grad_strides = class_strides(g);
  s.out = o.data;
  s.out_strides = class_strides(o);
  s.upstream = u.data;
  s.upstream_dtype = u.dtype;
  if (u.numel() != 1 || u.ndim > 0) {
    const bool per_sample = g.ndim == 2 ? u.has_shape({s.n}) : g.ndim == 3 && u.has_shape({s.n, s.inner});
    if (!per_sample) fail_value(kOp, "upstream must be one number or one per sample, got " + describe(u));
    s.upstream_strides = {u.strides[0], 0, u.ndim == 2 ? u.strides[1] : 0};
  }
  s.norm = norm_data(norm);
  void* stream = current_stream(g);
  py::gil_scoped_release release;
  ga_loss::scale_cuda(s, g.device.id, stream);
}

// Bytes of workspace that any loss needs on CUDA when alpha has this many elements (0: a number).
int64_t workspace_bytes(int64_t alpha_elements) { return ga_loss::kWorkspaceBytes + 16 * (alpha_elements + 1); }

#endif

}  // namespace

void bind_ga_loss_scale(py::module_& m) {
  m.def("ga_loss_cpu_factor", &cpu_factor, py::arg("upstream"), py::arg("norm"));
#ifdef EFFDL_WITH_CUDA
  m.def("ga_loss_scale", &scale, py::arg("grad"), py::arg("upstream"), py::arg("norm"), py::arg("out"));
  m.def("ga_loss_workspace_bytes", &workspace_bytes, py::arg("alpha_elements"));
#endif
}

}  // namespace effdl

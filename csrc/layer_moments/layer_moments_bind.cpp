#include "common/weights_bind.h"
#include "layer_moments/layer_moments.h"

namespace py = pybind11;

namespace effdl {
namespace {

using layer_moments::kMostWidth;

constexpr const char* kOp = "layer_moments";

// (rows, up to 64 columns), floating, any strides.
TensorView table_view(py::handle object, const char* arg) {
  const TensorView v = view(object, kOp, arg);
  if (!is_floating(v.dtype)) {
    fail_type(kOp, std::string(arg) + " must be float32, float64, float16 or bfloat16, got " + dtype_name(v.dtype));
  }
  if (v.ndim != 2 || v.shape[1] > kMostWidth) {
    fail_value(kOp, std::string(arg) + " must have shape (m, k) with k up to 64, got a " + describe(v));
  }
  return v;
}

void run(py::handle z, py::handle weights, py::handle y, py::handle moments, py::handle output, py::handle workspace,
         int activation) {
  const TensorView zs = table_view(z, "z"), ys = table_view(y, "y");
  check_same_device(ys, zs, kOp, "y", "z");
  if (ys.shape[0] != zs.shape[0]) fail_value(kOp, "y must have as many rows as z, got a " + describe(ys));
  layer_moments::Problem p{};
  p.z = zs.data;
  p.z_dtype = zs.dtype;
  p.rows = zs.shape[0];
  p.z_row_stride = zs.strides[0];
  p.z_col_stride = zs.strides[1];
  p.inputs = static_cast<int>(zs.shape[1]);
  p.y = ys.data;
  p.y_dtype = ys.dtype;
  p.y_row_stride = ys.strides[0];
  p.y_col_stride = ys.strides[1];
  p.targets = static_cast<int>(ys.shape[1]);
  if (activation < 0 || activation >= layer_moments::kActivations) fail_value(kOp, "activation must be 0 to 5");
  p.activation = static_cast<layer_moments::Activation>(activation);
  p.tries = 1;
  p.width = p.inputs;
  if (!weights.is_none()) {
    const TensorView w = dense_view(weights, kOp, "weights");
    check_same_device(w, zs, kOp, "weights", "z");
    check_dtype(w, zs.dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32, kOp, "weights");
    const int last = w.ndim - 1;
    if (w.ndim < 2 || w.ndim > 3 || w.shape[last - 1] != p.inputs + 1 || w.shape[last] < 1 ||
        w.shape[last] > kMostWidth) {
      fail_value(kOp, "weights must have shape (t, d + 1, w) or (d + 1, w), w from 1 to 64, got a " + describe(w));
    }
    p.weights = w.data;
    p.width = static_cast<int>(w.shape[last]);
    if (w.ndim == 3) p.tries = w.shape[0];
  } else if (activation != 0) {
    fail_value(kOp, "activation must be 0 without weights");
  }
  const int64_t n = 1 + p.width + p.targets;
  const TensorView found = dense_view(moments, kOp, "moments");
  check_same_device(found, zs, kOp, "moments", "z");
  check_dtype(found, Dtype::f64, kOp, "moments");
  check_numel(found, p.tries * n * n, kOp, "moments");
  p.moments = static_cast<double*>(found.data);
  if (!output.is_none()) {
    const TensorView o = dense_view(output, kOp, "output");
    check_same_device(o, zs, kOp, "output", "z");
    check_dtype(o, zs.dtype, kOp, "output");
    check_numel(o, p.width * p.rows, kOp, "output");
    if (p.weights == nullptr || p.tries != 1) fail_value(kOp, "output must be None unless there is one try");
    p.output = o.data;
  }
  if (p.tries == 0) return;
  if (zs.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    const int64_t bytes = layer_moments_workspace_bytes(p.rows, p.tries, p.width, p.targets);
    const TensorView room = workspace_view(workspace, zs, bytes, kOp);
    void* stream = current_stream(zs);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return layer_moments_cuda(p, room.data, zs.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  (void)workspace;
  const py::gil_scoped_release release;
  layer_moments_cpu(p);
}

}  // namespace

void bind_layer_moments(py::module_& m) {
  m.def("layer_moments", &run, py::arg("z"), py::arg("weights").none(true), py::arg("y"), py::arg("moments"),
        py::arg("output").none(true), py::arg("workspace").none(true), py::arg("activation"));
#ifdef EFFDL_WITH_CUDA
  m.def("layer_moments_workspace_bytes", &layer_moments_workspace_bytes);
#endif
}

}  // namespace effdl

#include "common/dense_bind.h"

#include "common/tensor_view.h"

namespace py = pybind11;

namespace effdl::dense {

Matrix matrix_view(py::handle object, const char* op, const char* arg) {
  const TensorView v = view(object, op, arg);
  if (v.is_cuda() || !is_floating(v.dtype) || v.ndim != 2) {
    fail_value(op, std::string(arg) + " must be a floating CPU tensor of two dimensions, got " + describe(v));
  }
  return {v.data, v.dtype, v.shape[0], v.shape[1], v.strides[0], v.strides[1]};
}

Dtype compute_dtype(const Matrix& x) { return x.dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32; }

std::vector<Matrix> weights_views(const py::sequence& weights, const Matrix& x, const char* op) {
  std::vector<Matrix> found;
  int64_t width = x.cols;
  for (const py::handle object : weights) {
    const Matrix w = matrix_view(object, op, "weights");
    if (w.dtype != compute_dtype(x) || w.rows != width + 1 || w.cols < 1) {
      fail_value(op, "weights must be " + std::string(dtype_name(compute_dtype(x))) + " of " +
                         std::to_string(width + 1) + " rows, got " + dtype_name(w.dtype) + " of shape (" +
                         std::to_string(w.rows) + ", " + std::to_string(w.cols) + ")");
    }
    width = w.cols;
    found.push_back(w);
  }
  return found;
}

Activation activation_of(const std::string& name, const char* op) {
  static const char* const names[kActivations] = {"identity", "relu", "celu", "tanh", "sigmoid", "leaky_relu"};
  for (int i = 0; i < kActivations; ++i) {
    if (name == names[i]) return static_cast<Activation>(i);
  }
  fail_value(op, "activation is unknown: " + name);
}

}  // namespace effdl::dense

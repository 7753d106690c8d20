#include "common/dense_bind.h"
#include "common/tensor_view.h"
#include "common/weights_bind.h"
#include "mlp_moments/mlp_moments.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "mlp_moments";

void run(py::handle x, const py::sequence& weights, py::handle y, py::handle moments, const std::string& activation,
         bool precise) {
  const dense::Matrix from = dense::matrix_view(x, kOp, "x");
  const std::vector<dense::Matrix> layers = dense::weights_views(weights, from, kOp);
  dense::Matrix targets;
  if (!y.is_none()) targets = dense::matrix_view(y, kOp, "y");
  if (!y.is_none() && targets.rows != from.rows) fail_value(kOp, "y must have as many rows as x");
  const TensorView found = dense_view(moments, kOp, "moments");
  check_dtype(found, Dtype::f64, kOp, "moments");
  const int64_t n = 1 + (layers.empty() ? from.cols : layers.back().cols) + targets.cols;
  if (found.is_cuda() || !found.has_shape({n, n})) fail_value(kOp, "moments must have a row for each column of r");
  const dense::Activation function = dense::activation_of(activation, kOp);
  const py::gil_scoped_release release;
  mlp_moments_cpu(from, layers, targets, function, precise, static_cast<double*>(found.data));
}

}  // namespace

void bind_mlp_moments(py::module_& m) {
  m.def("mlp_moments", &run, py::arg("x"), py::arg("weights"), py::arg("y").none(true), py::arg("moments"),
        py::arg("activation"), py::arg("precise"));
}

}  // namespace effdl

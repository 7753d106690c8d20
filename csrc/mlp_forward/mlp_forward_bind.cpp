#include "common/dense_bind.h"
#include "common/tensor_view.h"
#include "mlp_forward/mlp_forward.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "mlp_forward";

void run(py::handle x, const py::sequence& weights, py::handle out, const std::string& activation) {
  const dense::Matrix from = dense::matrix_view(x, kOp, "x"), to = dense::matrix_view(out, kOp, "out");
  const std::vector<dense::Matrix> layers = dense::weights_views(weights, from, kOp);
  if (layers.empty()) fail_value(kOp, "weights must hold one layer at least");
  if (to.dtype != dense::compute_dtype(from) || to.rows != from.rows || to.cols != layers.back().cols) {
    fail_value(kOp, "out must hold the last layer's output of every row");
  }
  const dense::Activation function = dense::activation_of(activation, kOp);
  const py::gil_scoped_release release;
  mlp_forward_cpu(from, layers, function, to);
}

}  // namespace

void bind_mlp_forward(py::module_& m) {
  m.def("mlp_forward", &run, py::arg("x"), py::arg("weights"), py::arg("out"), py::arg("activation"));
}

}  // namespace effdl

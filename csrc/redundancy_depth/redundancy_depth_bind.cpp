#include <limits>

#include "common/points_bind.h"
#include "common/weights_bind.h"
#include "redundancy_depth/redundancy_depth.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "redundancy_depth";

const char* redundancy_depth(py::handle features, py::handle labels, py::handle depth, const std::string& metric,
                             int64_t max_workspace, int64_t k, const std::string& arithmetic) {
  const Points points = points_view(features, kOp, "features");
  const TensorView y = dense_view(labels, kOp, "labels"), out = dense_view(depth, kOp, "depth");
  check_dtype(y, Dtype::i64, kOp, "labels");
  check_dtype(out, Dtype::i32, kOp, "depth");
  check_numel(y, points.n, kOp, "labels");
  check_numel(out, points.n, kOp, "depth");
  const RedundancyOptions options{metric_of(metric, kOp), arithmetic_of(arithmetic, kOp), max_workspace, k};
  int64_t bad_row = -1;
  Arithmetic used;
  {
    const py::gil_scoped_release release;
    used = redundancy_depth_cpu(points, static_cast<const int64_t*>(y.data), options, static_cast<int32_t*>(out.data),
                                &bad_row);
  }
  if (bad_row >= 0) fail_bad_row(kOp, "features", bad_row);
  return used == Arithmetic::bfloat16 ? "bfloat16" : "float32";
}

}  // namespace

void bind_redundancy_depth(py::module_& m) {
  m.def("redundancy_depth", &redundancy_depth, py::arg("features"), py::arg("labels"), py::arg("depth"),
        py::arg("metric"), py::arg("max_workspace"), py::arg("k") = 0, py::arg("arithmetic") = "automatic");
}

}  // namespace effdl

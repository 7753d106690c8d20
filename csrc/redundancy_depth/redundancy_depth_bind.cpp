#include <utility>

#include "common/points_bind.h"
#include "common/points_cuda_bind.h"
#include "common/weights_bind.h"
#include "redundancy_depth/redundancy_depth.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "redundancy_depth";

std::pair<const char*, bool> redundancy_depth(py::handle features, py::handle labels, py::handle depth,
                                              const std::string& metric, int64_t max_workspace, int64_t k,
                                              const std::string& arithmetic) {
  const Points points = points_view(features, kOp, "features");
  const TensorView y = dense_view(labels, kOp, "labels"), out = dense_view(depth, kOp, "depth");
  check_dtype(y, Dtype::i64, kOp, "labels");
  check_dtype(out, Dtype::i32, kOp, "depth");
  check_numel(y, points.n, kOp, "labels");
  check_numel(out, points.n, kOp, "depth");
  const RedundancyOptions options{metric_of(metric, kOp), arithmetic_of(arithmetic, kOp), max_workspace, k};
  RedundancyRun done;
  {
    const py::gil_scoped_release release;
    done = redundancy_depth_cpu(points, static_cast<const int64_t*>(y.data), options, static_cast<int32_t*>(out.data));
  }
  if (done.bad_row >= 0) fail_bad_row(k > 0 ? "k_redundant" : kOp, "features", done.bad_row);
  return {done.arithmetic == Arithmetic::bfloat16 ? "bfloat16" : "float32", done.settled};
}

// A tile of products of the words of samples sorted by label; counting: in the second pass.
void redundancy_depth_tile(py::handle features, const py::tuple& frame, [[maybe_unused]] bool counting,
                           py::handle products, int64_t first_row, int64_t first_col, py::handle row_base,
                           py::handle row_slack, py::handle col_base, py::handle col_slack, py::handle order,
                           py::handle class_end, py::handle limit, py::handle enemy, py::handle depth) {
  const Points points = cuda_points_view(features, kOp, "features");
  const auto floats = [&](py::handle tensor, int64_t numel, const char* arg) {
    return device_data<const float>(tensor, Dtype::f32, numel, features, kOp, arg);
  };
  RedundancyTile t;
  t.frame = cuda_frame(frame, kOp);
  t.dims = points.dims;
  t.rows = dense_view(row_base, kOp, "row_base").numel();
  t.cols = dense_view(col_base, kOp, "col_base").numel();
  t.first_row = first_row;
  t.first_col = first_col;
  if (first_row < 0 || first_row > points.n - t.rows || first_col < first_row || first_col > points.n - t.cols) {
    fail_value(kOp, "the tile must lie in the upper triangle of all pairs");
  }
  t.products = floats(products, t.rows * t.cols, "products");
  t.row_base = floats(row_base, t.rows, "row_base");
  t.row_slack = floats(row_slack, t.rows, "row_slack");
  t.col_base = floats(col_base, t.cols, "col_base");
  t.col_slack = floats(col_slack, t.cols, "col_slack");
  t.order = device_data<const int64_t>(order, Dtype::i64, points.n, features, kOp, "order");
  t.class_end = device_data<const int64_t>(class_end, Dtype::i64, points.n, features, kOp, "class_end");
  t.limit = device_data<int32_t>(limit, Dtype::i32, points.n, features, kOp, "limit");
  t.enemy = device_data<long long>(enemy, Dtype::i64, points.n, features, kOp, "enemy");
  t.depth = device_data<int32_t>(depth, Dtype::i32, points.n, features, kOp, "depth");
#ifdef EFFDL_WITH_CUDA
  const TensorView on = view(features, kOp, "features");
  void* stream = current_stream(on);
  const py::gil_scoped_release release;
  redundancy_depth_cuda(points, t, counting, on.device.id, stream);
#endif
}

}  // namespace

void bind_redundancy_depth(py::module_& m) {
  m.def("redundancy_depth", &redundancy_depth, py::arg("features"), py::arg("labels"), py::arg("depth"),
        py::arg("metric"), py::arg("max_workspace"), py::arg("k") = 0, py::arg("arithmetic") = "automatic");
  m.def("redundancy_depth_tile", &redundancy_depth_tile, py::arg("features"), py::arg("frame"), py::arg("counting"),
        py::arg("products"), py::arg("first_row"), py::arg("first_col"), py::arg("row_base"), py::arg("row_slack"),
        py::arg("col_base"), py::arg("col_slack"), py::arg("order"), py::arg("class_end"), py::arg("limit"),
        py::arg("enemy"), py::arg("depth"));
}

}  // namespace effdl

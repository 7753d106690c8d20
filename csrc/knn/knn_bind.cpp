#include "common/points_bind.h"
#include "common/points_cuda_bind.h"
#include "common/weights_bind.h"
#include "knn/knn.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "knn";

const char* knn(py::handle queries, py::handle keys, py::handle distances, py::handle indices,
                const std::string& metric, bool exclude_self, int64_t max_workspace, const std::string& arithmetic) {
  const Points q = points_view(queries, kOp, "queries"), x = points_view(keys, kOp, "keys");
  const TensorView values = dense_view(distances, kOp, "distances"), found = dense_view(indices, kOp, "indices");
  check_dtype(found, Dtype::i64, kOp, "indices");
  check_dtype(values, q.dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32, kOp, "distances");
  if (x.dtype != q.dtype || x.dims != q.dims) fail_value(kOp, "keys must have the dtype and the features of queries");
  if (exclude_self && x.n != q.n) fail_value(kOp, "exclude_self needs as many keys as queries");
  if (found.ndim != 2 || found.shape[0] != q.n) fail_value(kOp, "indices must have shape (queries, k)");
  const int64_t k = found.shape[1];
  check_numel(values, q.n * k, kOp, "distances");
  if (k > x.n - (exclude_self ? 1 : 0) && q.n > 0) fail_value(kOp, "k must be at most the number of keys");
  const KnnOptions options{metric_of(metric, kOp), arithmetic_of(arithmetic, kOp), max_workspace, k, exclude_self};
  BadRows bad;
  Arithmetic used;
  {
    const py::gil_scoped_release release;
    used = knn_cpu(q, x, options, values.data, static_cast<int64_t*>(found.data), &bad);
  }
  if (bad.query >= 0) fail_bad_row(kOp, "queries", bad.query);
  if (bad.key >= 0) fail_bad_row(kOp, "keys", bad.key);
  return used == Arithmetic::bfloat16 ? "bfloat16" : "float32";
}

// A tile of products of the words of queries and keys; tiles of a row come in the order of keys.
void knn_tile(py::handle queries, py::handle keys, const py::tuple& frame, bool exclude_self, bool last,
              py::handle products, int64_t first_row, int64_t first_col, py::handle row_base, py::handle row_slack,
              py::handle col_base, py::handle col_slack, py::handle best, py::handle indices, py::handle distances,
              py::handle workspace) {
  const Points q = cuda_points_view(queries, kOp, "queries"), x = cuda_points_view(keys, kOp, "keys");
  const TensorView on = view(queries, kOp, "queries"), found = dense_view(indices, kOp, "indices");
  check_same_device(view(keys, kOp, "keys"), on, kOp, "keys", "queries");
  if (x.dtype != q.dtype || x.dims != q.dims) fail_value(kOp, "keys must have the dtype and the features of queries");
  const auto floats = [&](py::handle tensor, int64_t numel, const char* arg) {
    return device_data<const float>(tensor, Dtype::f32, numel, queries, kOp, arg);
  };
  KnnTile t;
  t.frame = cuda_frame(frame, kOp);
  t.dims = q.dims;
  t.rows = dense_view(row_base, kOp, "row_base").numel();
  t.cols = dense_view(col_base, kOp, "col_base").numel();
  if (found.ndim != 2 || found.shape[0] != t.rows) fail_value(kOp, "indices must have shape (rows, k)");
  t.k = found.shape[1];
  t.first_row = first_row;
  t.first_col = first_col;
  if (first_row < 0 || first_row > q.n - t.rows || first_col < 0 || first_col > x.n - t.cols) {
    fail_value(kOp, "the tile must lie among the pairs of queries and keys");
  }
  t.exclude_self = exclude_self;
  t.last = last;
  t.products = floats(products, t.rows * t.cols, "products");
  t.row_base = floats(row_base, t.rows, "row_base");
  t.row_slack = floats(row_slack, t.rows, "row_slack");
  t.col_base = floats(col_base, t.cols, "col_base");
  t.col_slack = floats(col_slack, t.cols, "col_slack");
  t.best = device_data<double>(best, Dtype::f64, t.rows * t.k, queries, kOp, "best");
  t.indices = device_data<int64_t>(indices, Dtype::i64, t.rows * t.k, queries, kOp, "indices");
  t.distances =
      device_data(distances, q.dtype == Dtype::f64 ? Dtype::f64 : Dtype::f32, t.rows * t.k, queries, kOp, "distances");
  [[maybe_unused]] const TensorView space = workspace_view(workspace, on, knn_block_bytes(t.k), kOp);
#ifdef EFFDL_WITH_CUDA
  void* stream = current_stream(on);
  const py::gil_scoped_release release;
  knn_cuda(q, x, t, space.data, space.numel(), on.device.id, stream);
#endif
}

}  // namespace

void bind_knn(py::module_& m) {
  m.def("knn", &knn, py::arg("queries"), py::arg("keys"), py::arg("distances"), py::arg("indices"), py::arg("metric"),
        py::arg("exclude_self"), py::arg("max_workspace"), py::arg("arithmetic") = "automatic");
  m.def("knn_tile", &knn_tile, py::arg("queries"), py::arg("keys"), py::arg("frame"), py::arg("exclude_self"),
        py::arg("last"), py::arg("products"), py::arg("first_row"), py::arg("first_col"), py::arg("row_base"),
        py::arg("row_slack"), py::arg("col_base"), py::arg("col_slack"), py::arg("best"), py::arg("indices"),
        py::arg("distances"), py::arg("workspace"));
  m.def("knn_block_bytes", &knn_block_bytes, py::arg("k"));
}

}  // namespace effdl

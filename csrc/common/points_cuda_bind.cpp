#include "common/points_cuda_bind.h"

#include "common/points_bind.h"
#include "common/weights_bind.h"

namespace py = pybind11;

namespace effdl {

Points cuda_points_view(py::handle object, const char* op, const char* arg) {
#ifndef EFFDL_WITH_CUDA
  fail_no_cuda(op);
#endif
  return points_view(object, op, arg, true);
}

void* device_data(py::handle object, Dtype dtype, int64_t numel, py::handle reference, const char* op,
                  const char* arg) {
  const TensorView v = dense_view(object, op, arg);
  check_same_device(v, view(reference, op, "features"), op, arg, "the features");
  check_dtype(v, dtype, op, arg);
  check_numel(v, numel, op, arg);
  return v.data;
}

CudaFrame cuda_frame(const py::tuple& frame, const char* op) {
  if (frame.size() != 6) fail_value(op, "frame must have 6 entries");
  const auto number = [&frame](size_t i) { return frame[i].cast<double>(); };
  return {metric_of(frame[0].cast<std::string>(), op), number(1), number(2), number(3), number(4), number(5)};
}

namespace {

const char* op_of(const std::string& name) {
  for (const char* op : {"redundancy_depth", "k_redundant", "knn"}) {
    if (name == op) return op;
  }
  fail_value("survey_points", "op must be redundancy_depth, k_redundant or knn, got '" + name + "'");
}

// The first kernel of every call of an op: the one that is recorded.
void survey_points(const std::string& op, py::handle features, py::handle seen) {
  [[maybe_unused]] const char* name = op_of(op);
  [[maybe_unused]] const Points points = cuda_points_view(features, name, "features");
  [[maybe_unused]] auto* out = device_data<unsigned long long>(seen, Dtype::i64, 2, features, name, "seen");
#ifdef EFFDL_WITH_CUDA
  const TensorView on = view(features, name, "features");
  void* stream = current_stream(on);
  const py::gil_scoped_release release;
  survey_points_cuda(points, out, on.device.id, stream, name);
#endif
}

void pack_points(py::handle features, py::handle order, py::handle centre, const py::tuple& frame, py::handle words,
                 py::handle base, py::handle slack) {
  constexpr const char* kOp = "pack_points";
  const Points points = cuda_points_view(features, kOp, "features");
  [[maybe_unused]] const CudaFrame numbers = cuda_frame(frame, kOp);
  const int64_t count = dense_view(base, kOp, "base").numel();
  [[maybe_unused]] const int64_t* samples =
      order.is_none() ? nullptr : device_data<const int64_t>(order, Dtype::i64, count, features, kOp, "order");
  if (order.is_none() && count > points.n) fail_value(kOp, "base must have no more elements than features has rows");
  const auto floats = [&](py::handle tensor, int64_t numel, const char* arg) {
    return device_data<float>(tensor, Dtype::f32, numel, features, kOp, arg);
  };
  [[maybe_unused]] const float* middle = floats(centre, points.dims, "centre");
  [[maybe_unused]] float* const out[] = {floats(words, count * points.dims, "words"), floats(base, count, "base"),
                                         floats(slack, count, "slack")};
#ifdef EFFDL_WITH_CUDA
  const TensorView on = view(features, kOp, "features");
  void* stream = current_stream(on);
  const py::gil_scoped_release release;
  pack_points_cuda(points, samples, count, numbers, middle, out[0], out[1], out[2], on.device.id, stream, kOp);
#endif
}

}  // namespace

void bind_points_cuda(py::module_& m) {
  m.def("survey_points", &survey_points, py::arg("op"), py::arg("features"), py::arg("seen"));
  m.def("pack_points", &pack_points, py::arg("features"), py::arg("order"), py::arg("centre"), py::arg("frame"),
        py::arg("words"), py::arg("base"), py::arg("slack"));
}

}  // namespace effdl

#include "common/weights_bind.h"
#include "ridge_solve/ridge_solve.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "ridge_solve";

void run(py::handle moments, py::handle projection, py::handle solution, py::handle residual, py::handle rcond,
         py::handle weights, py::handle workspace, int targets, double l2, bool free_bias, double alpha, double beta) {
  const TensorView m = dense_view(moments, kOp, "moments");
  check_dtype(m, Dtype::f64, kOp, "moments");
  if (m.ndim < 2 || m.ndim > 3 || m.shape[m.ndim - 1] != m.shape[m.ndim - 2]) {
    fail_value(kOp, "moments must have shape (b, n + c, n + c) or (n + c, n + c), got a " + describe(m));
  }
  const int64_t all = m.shape[m.ndim - 1], n = all - targets;
  if (targets < 1 || targets > ridge_solve::kMostTargets) fail_value(kOp, "targets must be from 1 to 64");
  if (n < 1 || n > ridge_solve::kMostColumns) {
    fail_value(kOp, "moments must have 1 to 65 columns and the targets, got a " + describe(m));
  }
  if (!(l2 >= 0.0)) fail_value(kOp, "l2 must be at least 0");
  ridge_solve::Problem p{};
  p.moments = static_cast<const double*>(m.data);
  p.batch = m.ndim == 3 ? m.shape[0] : 1;
  p.columns = static_cast<int>(n);
  p.targets = targets;
  p.l2 = l2;
  p.free_bias = free_bias;
  p.alpha = alpha;
  p.beta = beta;
  const auto doubles = [&](py::handle tensor, int64_t numel, const char* arg) {
    const TensorView v = dense_view(tensor, kOp, arg);
    check_same_device(v, m, kOp, arg, "moments");
    check_dtype(v, Dtype::f64, kOp, arg);
    check_numel(v, numel, kOp, arg);
    return static_cast<double*>(v.data);
  };
  p.solution = doubles(solution, p.batch * n * targets, "solution");
  p.residual = doubles(residual, p.batch, "residual");
  p.rcond = doubles(rcond, p.batch, "rcond");
  if (!projection.is_none()) {
    if (m.ndim != 2) fail_value(kOp, "projection must be None for a batch of moments");
    const TensorView q = dense_view(projection, kOp, "projection");
    if (q.ndim < 2 || q.ndim > 3 || q.shape[q.ndim - 2] != all) {
      fail_value(kOp, "projection must have shape (t, n + c, w) or (n + c, w), got a " + describe(q));
    }
    p.width = q.shape[q.ndim - 1];
    p.tries = q.ndim == 3 ? q.shape[0] : 1;
    p.projection = doubles(projection, p.tries * all * p.width, "projection");
    p.weights = doubles(weights, p.tries * n * p.width, "weights");
    if (p.tries * p.width == 0) p.projection = nullptr;  // no weights either
  }
  if (m.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    void* room = nullptr;
    if (p.projection != nullptr) {
      room = workspace_view(workspace, m, n * all * static_cast<int64_t>(sizeof(double)), kOp).data;
    }
    void* stream = current_stream(m);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return ridge_solve_cuda(p, room, m.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  (void)workspace;
  const py::gil_scoped_release release;
  ridge_solve_cpu(p);
}

}  // namespace

void bind_ridge_solve(py::module_& m) {
  m.def("ridge_solve", &run, py::arg("moments"), py::arg("projection").none(true), py::arg("solution"),
        py::arg("residual"), py::arg("rcond"), py::arg("weights").none(true), py::arg("workspace").none(true),
        py::arg("targets"), py::arg("l2"), py::arg("free_bias"), py::arg("alpha"), py::arg("beta"));
}

}  // namespace effdl

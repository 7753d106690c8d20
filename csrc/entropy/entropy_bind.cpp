#include "common/exact_floats.h"
#include "common/weights_bind.h"
#include "entropy/entropy.h"
#include "quantize/quantize.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "entropy";

void estimate_entropy(py::handle x, py::handle out, py::handle workspace, int bits, double fraction, int64_t seed) {
  const TensorView v = weights_view(x, kOp, "x"), o = dense_view(out, kOp, "out");
  check_same_device(o, v, kOp, "out", "x");
  check_dtype(o, Dtype::f64, kOp, "out");
  check_numel(o, 1, kOp, "out");
  check_bits(bits, 16, kOp);
  if (!(fraction > 0.0 && fraction <= 1.0)) {
    fail_value(kOp, "sample must be in (0, 1], got " + std::string(py::repr(py::float_(fraction))));
  }
  const Sample sample = make_sample(v.numel(), fraction, seed);
  double* to = static_cast<double*>(o.data);
  if (v.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    const TensorView w = workspace_view(workspace, v, entropy_workspace_bytes(), kOp);
    void* stream = current_stream(v);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return entropy_cuda(v.data, v.dtype, sample, bits, to, w.data, v.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  (void)workspace;
  const ExactFloats exact;
  MinMax range;
  bool fits;
  {
    const py::gil_scoped_release release;
    range = min_max_cpu(v.data, v.dtype, v.numel());
    fits = range.finite && quantizable(range.lo, range.hi, bits, v.dtype);
    if (fits) *to = entropy_cpu(v.data, v.dtype, sample, make_quantizer(range.lo, range.hi, bits, v.dtype));
  }
  if (!range.finite) fail_value(kOp, "x must be finite, it holds NaN or infinity");
  if (!fits) fail_value(kOp, "the range of x is too large or too small for float64");
}

}  // namespace

void bind_entropy(py::module_& m) {
  m.def("entropy", &estimate_entropy, py::arg("x"), py::arg("out"), py::arg("workspace").none(true), py::arg("bits"),
        py::arg("sample"), py::arg("seed"));
#ifdef EFFDL_WITH_CUDA
  m.def("entropy_workspace_bytes", &entropy_workspace_bytes);
#endif
}

}  // namespace effdl

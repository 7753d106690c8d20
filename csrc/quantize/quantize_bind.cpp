#include "common/exact_floats.h"
#include "common/weights_bind.h"
#include "quantize/quantize.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "quantize";

Dtype range_dtype(Dtype source) { return source == Dtype::f64 ? Dtype::f64 : Dtype::f32; }

TensorView range_view(py::handle range, const TensorView& x) {
  const TensorView r = dense_view(range, kOp, "range");
  check_same_device(r, x, kOp, "range", "x");
  check_dtype(r, range_dtype(x.dtype), kOp, "range");
  check_numel(r, 2, kOp, "range");
  return r;
}

[[noreturn]] void fail_nonfinite() { fail_value(kOp, "x must be finite, it holds NaN or infinity"); }

void min_max(py::handle x, py::handle range, py::handle workspace) {
  const TensorView v = weights_view(x, kOp, "x"), r = range_view(range, v);
  if (v.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    const TensorView w = workspace_view(workspace, v, min_max_workspace_bytes(), kOp);
    void* stream = current_stream(v);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return min_max_cuda(v.data, v.dtype, v.numel(), r.data, w.data, v.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  (void)workspace;
  const ExactFloats exact;
  MinMax found;
  {
    const py::gil_scoped_release release;
    found = min_max_cpu(v.data, v.dtype, v.numel());
  }
  if (!found.finite) fail_nonfinite();
  if (r.dtype == Dtype::f64) {
    static_cast<double*>(r.data)[0] = found.lo;
    static_cast<double*>(r.data)[1] = found.hi;
  } else {
    static_cast<float*>(r.data)[0] = static_cast<float>(found.lo);
    static_cast<float*>(r.data)[1] = static_cast<float>(found.hi);
  }
}

void quantize_codes(py::handle x, py::handle codes, py::handle range, int bits) {
  const TensorView v = weights_view(x, kOp, "x"), c = codes_view(codes, kOp, "codes"), r = range_view(range, v);
  check_same_device(c, v, kOp, "codes", "x");
  check_numel(c, v.numel(), kOp, "codes");
  const int code_bytes = static_cast<int>(dtype_size(c.dtype));
  check_bits(bits, 8 * code_bytes, kOp);
  if (v.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    void* stream = current_stream(v);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return quantize_cuda(v.data, v.dtype, v.numel(), r.data, bits, c.data, code_bytes, v.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  const ExactFloats exact;
  const Quantizer quantizer = quantizer_of(r, bits, v.dtype, kOp);
  bool finite;
  {
    const py::gil_scoped_release release;
    finite = quantize_cpu(v.data, v.dtype, v.numel(), quantizer, c.data, code_bytes);
  }
  if (!finite) fail_nonfinite();
}

}  // namespace

void bind_quantize(py::module_& m) {
  m.def("min_max", &min_max, py::arg("x"), py::arg("range"), py::arg("workspace").none(true));
  m.def("quantize", &quantize_codes, py::arg("x"), py::arg("codes"), py::arg("range"), py::arg("bits"));
#ifdef EFFDL_WITH_CUDA
  m.def("min_max_workspace_bytes", &min_max_workspace_bytes);
#endif
}

}  // namespace effdl

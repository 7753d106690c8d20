#include "common/exact_floats.h"
#include "common/weights_bind.h"
#include "dequantize/dequantize.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "dequantize";

void dequantize_values(py::handle codes, py::handle out, py::handle range, int bits) {
  const TensorView c = codes_view(codes, kOp, "codes"), o = weights_view(out, kOp, "out");
  const TensorView r = dense_view(range, kOp, "range");
  check_same_device(o, c, kOp, "out", "codes");
  check_same_device(r, c, kOp, "range", "codes");
  check_numel(o, c.numel(), kOp, "out");
  check_numel(r, 2, kOp, "range");
  if (r.dtype != Dtype::f64) check_dtype(r, Dtype::f32, kOp, "range");
  const int code_bytes = static_cast<int>(dtype_size(c.dtype));
  check_bits(bits, 8 * code_bytes, kOp);
  if (c.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    void* stream = current_stream(c);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return dequantize_cuda(c.data, code_bytes, c.numel(), r.data, r.dtype == Dtype::f64, bits, o.data, o.dtype,
                           c.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  const ExactFloats exact;
  const Quantizer quantizer = quantizer_of(r, bits, r.dtype, kOp);
  const py::gil_scoped_release release;
  dequantize_cpu(c.data, code_bytes, c.numel(), quantizer, o.data, o.dtype);
}

}  // namespace

void bind_dequantize(py::module_& m) {
  m.def("dequantize", &dequantize_values, py::arg("codes"), py::arg("out"), py::arg("range"), py::arg("bits"));
}

}  // namespace effdl

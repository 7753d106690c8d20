#include <cmath>
#include <stdexcept>

#include "common/weights_bind.h"
#include "compress_weights/compress_weights.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "compress_weights";

std::string number(double v) { return py::repr(py::float_(v)); }

int64_t bound(int64_t n, int64_t itemsize, int bits) {
  if (n < 0 || n > int64_t{1} << 56) fail_value(kOp, "n must be 0 to 2^56, got " + std::to_string(n));
  if (itemsize != 2 && itemsize != 4 && itemsize != 8) {
    fail_value(kOp, "itemsize must be 2, 4 or 8, got " + std::to_string(itemsize));
  }
  check_bits(bits, 16, kOp);
  return compress_weights_bound(n, itemsize, bits);
}

int64_t compress(py::handle x, py::handle out, py::handle workspace, double floor, int entropy_bits, double fraction,
                 int64_t seed, int codec, int bits, bool keep_nonfinite) {
  const TensorView v = weights_view(x, kOp, "x"), o = dense_view(out, kOp, "out");
  check_same_device(o, v, kOp, "out", "x");
  check_dtype(o, Dtype::u8, kOp, "out");
  if (!std::isfinite(floor)) fail_value(kOp, "floor must be finite, got " + number(floor));
  if (entropy_bits < 1 || entropy_bits > 16) {
    fail_value(kOp, "entropy_bits must be 1 to 16, got " + std::to_string(entropy_bits));
  }
  if (!(fraction > 0.0 && fraction <= 1.0)) fail_value(kOp, "sample must be in (0, 1], got " + number(fraction));
  if (codec < 0 || codec > record::kAuto || codec == record::kConstant) {
    fail_value(kOp, "unknown codec " + std::to_string(codec));
  }
  if (bits != 0) check_bits(bits, 16, kOp);
  const CompressPlan plan = {v.data, v.dtype,      v.numel(),
                             floor,  entropy_bits, make_sample(v.numel(), fraction, seed),
                             codec,  bits,         keep_nonfinite};
  const int64_t room = compress_weights_bound(v.numel(), dtype_size(v.dtype), max_bits(plan));
  if (o.numel() < room) {
    fail_value(kOp, "out must have at least " + std::to_string(room) + " elements, got a " + describe(o));
  }
  uint8_t* to = static_cast<uint8_t*>(o.data);
  if (v.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    const int64_t need = compress_weights_workspace_bytes(v.numel(), dtype_size(v.dtype), max_bits(plan));
    const TensorView w = workspace_view(workspace, v, need, kOp);
    void* stream = current_stream(v);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    compress_weights_cuda(plan, to, w.data, v.device.id, stream);
    return -1;
#else
    fail_no_cuda(kOp);
#endif
  }
  (void)workspace;
  int64_t size;
  {
    const py::gil_scoped_release release;
    size = compress_weights_cpu(plan, to);
  }
  if (size == -2) throw std::runtime_error(std::string(kOp) + ": x was changed by another thread meanwhile");
  if (size < 0) fail_value(kOp, "x must be finite, it holds NaN or infinity (nonfinite=\"raw\" stores it as it is)");
  return size;
}

}  // namespace

void bind_compress_weights(py::module_& m) {
  m.def("compress_weights_bound", &bound, py::arg("n"), py::arg("itemsize"), py::arg("max_bits"));
  m.def("compress_weights", &compress, py::arg("x"), py::arg("out"), py::arg("workspace").none(true), py::arg("floor"),
        py::arg("entropy_bits"), py::arg("sample"), py::arg("seed"), py::arg("codec"), py::arg("bits"),
        py::arg("keep_nonfinite"));
#ifdef EFFDL_WITH_CUDA
  m.def("compress_weights_workspace_bytes", &compress_weights_workspace_bytes);
#endif
}

}  // namespace effdl

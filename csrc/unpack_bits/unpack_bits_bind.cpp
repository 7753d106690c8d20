#include "common/weights_bind.h"
#include "unpack_bits/unpack_bits.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "unpack_bits";

void unpack(py::handle packed, py::handle codes, int bits) {
  const TensorView p = dense_view(packed, kOp, "packed"), c = codes_view(codes, kOp, "codes");
  const int code_bytes = static_cast<int>(dtype_size(c.dtype));
  check_bits(bits, 8 * code_bytes, kOp);
  check_same_device(c, p, kOp, "codes", "packed");
  check_dtype(p, Dtype::u8, kOp, "packed");
  check_numel(p, packed_bytes(c.numel(), bits), kOp, "packed");
  const uint8_t* from = static_cast<const uint8_t*>(p.data);
  if (p.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    void* stream = current_stream(p);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return unpack_bits_cuda(from, c.numel(), bits, c.data, code_bytes, p.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  const py::gil_scoped_release release;
  unpack_bits_cpu(from, c.numel(), bits, c.data, code_bytes);
}

}  // namespace

void bind_unpack_bits(py::module_& m) {
  m.def("unpack_bits", &unpack, py::arg("packed"), py::arg("codes"), py::arg("bits"));
}

}  // namespace effdl

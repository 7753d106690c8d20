#include "common/weights_bind.h"
#include "pack_bits/pack_bits.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "pack_bits";

void pack(py::handle codes, py::handle packed, int bits) {
  const TensorView c = codes_view(codes, kOp, "codes"), p = dense_view(packed, kOp, "packed");
  const int code_bytes = static_cast<int>(dtype_size(c.dtype));
  check_bits(bits, 8 * code_bytes, kOp);
  check_same_device(p, c, kOp, "packed", "codes");
  check_dtype(p, Dtype::u8, kOp, "packed");
  check_numel(p, packed_bytes(c.numel(), bits), kOp, "packed");
  uint8_t* to = static_cast<uint8_t*>(p.data);
  if (c.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    void* stream = current_stream(c);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return pack_bits_cuda(c.data, code_bytes, c.numel(), bits, to, c.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  bool fits;
  {
    const py::gil_scoped_release release;
    fits = pack_bits_cpu(c.data, code_bytes, c.numel(), bits, to);
  }
  if (!fits) fail_value(kOp, "codes must be below 2^bits = " + std::to_string(1 << bits));
}

}  // namespace

void bind_pack_bits(py::module_& m) { m.def("pack_bits", &pack, py::arg("codes"), py::arg("packed"), py::arg("bits")); }

}  // namespace effdl

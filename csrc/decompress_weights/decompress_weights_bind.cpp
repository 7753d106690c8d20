#include "common/exact_floats.h"
#include "common/weights_bind.h"
#include "decompress_weights/decompress_weights.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "decompress_weights";

record::Header checked_header(const Bytes& data) {
  const ExactFloats exact;
  record::Header header;
  if (const char* wrong = record::read_header(data.data, data.size, &header)) fail_corrupt(kOp, wrong);
  return header;
}

void decompress(py::handle data, py::handle out, py::handle workspace) {
  const TensorView o = weights_view(out, kOp, "out");
  const Bytes bytes(data, kOp, "data");
  if (bytes.is_tensor) {
    check_same_device(bytes.tensor, o, kOp, "data", "out");
  } else if (o.is_cuda()) {
    fail_value(kOp, "data must be a tensor on the device of out, got bytes of the host and a " + describe(o));
  }
  if (o.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    const int64_t need = decompress_weights_workspace_bytes(bytes.size, o.numel());
    const TensorView w = workspace_view(workspace, o, need, kOp);
    void* stream = current_stream(o);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return decompress_weights_cuda(bytes.data, bytes.size, o.numel(), o.data, o.dtype, w.data, o.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  (void)workspace;
  const record::Header header = checked_header(bytes);
  check_numel(o, static_cast<int64_t>(header.n), kOp, "out");
  const char* wrong;
  {
    const py::gil_scoped_release release;
    wrong = decompress_weights_cpu(bytes.data, header, o.data, o.dtype);
  }
  if (wrong != nullptr) fail_corrupt(kOp, wrong);
}

py::tuple weights_header(py::handle data) {
  const Bytes bytes(data, kOp, "data");
  if (bytes.is_tensor && bytes.tensor.is_cuda()) fail_value(kOp, "data must be in host memory here");
  const record::Header h = checked_header(bytes);
  return py::make_tuple(h.codec, h.dtype, h.bits, h.n, h.lo, h.hi, h.codebook_bytes, h.payload_bytes);
}

}  // namespace

void bind_decompress_weights(py::module_& m) {
  m.def("decompress_weights", &decompress, py::arg("data"), py::arg("out"), py::arg("workspace").none(true));
  m.def("weights_header", &weights_header, py::arg("data"));
#ifdef EFFDL_WITH_CUDA
  m.def("decompress_weights_workspace_bytes", &decompress_weights_workspace_bytes);
#endif
}

}  // namespace effdl

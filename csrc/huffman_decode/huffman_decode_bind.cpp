#include <vector>

#include "common/weights_bind.h"
#include "huffman_decode/huffman_decode.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "huffman_decode";

void decode(py::handle payload, py::handle sizes, py::handle lengths, py::handle codes, py::handle workspace) {
  const TensorView p = dense_view(payload, kOp, "payload"), s = dense_view(sizes, kOp, "sizes");
  const TensorView l = dense_view(lengths, kOp, "lengths"), c = codes_view(codes, kOp, "codes");
  check_same_device(s, p, kOp, "sizes", "payload");
  check_same_device(l, p, kOp, "lengths", "payload");
  check_same_device(c, p, kOp, "codes", "payload");
  check_dtype(p, Dtype::u8, kOp, "payload");
  check_dtype(s, Dtype::i32, kOp, "sizes");
  check_dtype(l, Dtype::u8, kOp, "lengths");
  const int64_t n = c.numel(), bins = l.numel();
  if (bins < 1 || bins > 1 << 16) fail_value(kOp, "lengths must have 1 to 65536 elements, got " + std::to_string(bins));
  check_dtype(c, bins <= 256 ? Dtype::u8 : Dtype::u16, kOp, "codes");
  if (s.numel() != lanes::chunk_count(n)) {
    fail_corrupt(kOp, std::to_string(n) + " codes have " + std::to_string(lanes::chunk_count(n)) +
                          " chunks, but sizes has " + std::to_string(s.numel()));
  }
  const uint8_t* from = static_cast<const uint8_t*>(p.data);
  const uint8_t* code_lengths = static_cast<const uint8_t*>(l.data);
  if (p.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    const TensorView w = workspace_view(workspace, p, huffman_decode_workspace_bytes(n, bins), kOp);
    void* stream = current_stream(p);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return huffman_decode_cuda(from, p.numel(), static_cast<const int32_t*>(s.data), n, code_lengths, bins, c.data,
                               w.data, p.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  (void)workspace;
  const std::vector<uint8_t> own(code_lengths, code_lengths + bins);  // what is checked is what is used
  if (!huffman::complete(own.data(), bins)) fail_corrupt(kOp, "the lengths are not those of a complete code");
  lanes::ChunkDirectory directory;
  if (!lanes::read_directory(from, p.numel(), static_cast<const uint8_t*>(s.data), n, &directory)) {
    fail_corrupt(kOp, "the chunk sizes do not fill the payload");
  }
  bool ok;
  {
    const py::gil_scoped_release release;
    ok = huffman_decode_cpu(directory, own.data(), bins, c.data, static_cast<int>(dtype_size(c.dtype)));
  }
  if (!ok) fail_corrupt(kOp, "a chunk does not end where it should");
}

}  // namespace

void bind_huffman_decode(py::module_& m) {
  m.def("huffman_decode", &decode, py::arg("payload"), py::arg("sizes"), py::arg("lengths"), py::arg("codes"),
        py::arg("workspace").none(true));
#ifdef EFFDL_WITH_CUDA
  m.def("huffman_decode_workspace_bytes", &huffman_decode_workspace_bytes);
#endif
}

}  // namespace effdl

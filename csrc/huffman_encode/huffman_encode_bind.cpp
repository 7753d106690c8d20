#include <vector>

#include "common/weights_bind.h"
#include "huffman_encode/huffman_encode.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "huffman_encode";

// Every value that a code may have gets an entry.
std::vector<uint32_t> full_table(const uint8_t* lengths, int64_t bins, int code_bytes) {
  std::vector<uint32_t> table(code_bytes == 1 ? 256 : 65536);
  huffman::encode_table(lengths, bins, table.data(), static_cast<int64_t>(table.size()));
  return table;
}

int64_t encode(py::handle codes, py::handle lengths, py::handle payload, py::handle sizes, py::handle workspace) {
  const TensorView c = codes_view(codes, kOp, "codes"), l = dense_view(lengths, kOp, "lengths");
  const TensorView p = dense_view(payload, kOp, "payload"), s = dense_view(sizes, kOp, "sizes");
  check_same_device(l, c, kOp, "lengths", "codes");
  check_same_device(p, c, kOp, "payload", "codes");
  check_same_device(s, c, kOp, "sizes", "codes");
  check_dtype(l, Dtype::u8, kOp, "lengths");
  check_dtype(p, Dtype::u8, kOp, "payload");
  check_dtype(s, Dtype::i32, kOp, "sizes");
  const int64_t n = c.numel(), bins = l.numel();
  if (bins < 1 || bins > 1 << 16) fail_value(kOp, "lengths must have 1 to 65536 elements, got " + std::to_string(bins));
  check_dtype(c, bins <= 256 ? Dtype::u8 : Dtype::u16, kOp, "codes");
  check_numel(s, lanes::chunk_count(n), kOp, "sizes");
  const uint8_t* code_lengths = static_cast<const uint8_t*>(l.data);
  uint8_t* to = static_cast<uint8_t*>(p.data);
  const auto check_room = [&](int longest) {
    if (p.numel() < lanes::stream_bound(n, longest)) {
      fail_value(kOp, "payload must have at least " + std::to_string(lanes::stream_bound(n, longest)) +
                          " elements, got a " + describe(p));
    }
  };
  if (c.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    check_room(16);
    const TensorView w = workspace_view(workspace, c, huffman_encode_workspace_bytes(n, bins), kOp);
    void* stream = current_stream(c);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    huffman_encode_cuda(c.data, n, code_lengths, bins, to, static_cast<int32_t*>(s.data), w.data, c.device.id, stream);
    return -1;
#else
    fail_no_cuda(kOp);
#endif
  }
  (void)workspace;
  const std::vector<uint8_t> own(code_lengths, code_lengths + bins);  // what is checked is what is used
  if (!huffman::complete(own.data(), bins)) {
    fail_value(kOp, "lengths must be those of a complete prefix code: at most 16, with a Kraft sum of 1");
  }
  const int longest = huffman::longest(own.data(), bins), code_bytes = static_cast<int>(dtype_size(c.dtype));
  check_room(longest);
  int64_t bytes;
  {
    const py::gil_scoped_release release;
    const std::vector<uint32_t> table = full_table(own.data(), bins, code_bytes);
    bytes = huffman_encode_cpu(c.data, code_bytes, n, table.data(), longest, to, static_cast<uint8_t*>(s.data));
  }
  if (bytes < 0) fail_value(kOp, "codes holds a symbol whose length is 0 or that is not below the number of lengths");
  return bytes;
}

}  // namespace

void bind_huffman_encode(py::module_& m) {
  m.def(
      "huffman_bound",
      [](int64_t n, int longest) {
        if (n < 0 || n > int64_t{1} << 56) fail_value(kOp, "n must be 0 to 2^56, got " + std::to_string(n));
        if (longest < 0 || longest > 16) fail_value(kOp, "longest must be 0 to 16, got " + std::to_string(longest));
        return lanes::stream_bound(n, longest);
      },
      py::arg("n"), py::arg("longest"));
  m.def("huffman_encode", &encode, py::arg("codes"), py::arg("lengths"), py::arg("payload"), py::arg("sizes"),
        py::arg("workspace").none(true));
#ifdef EFFDL_WITH_CUDA
  m.def("huffman_encode_workspace_bytes", &huffman_encode_workspace_bytes);
#endif
}

}  // namespace effdl

#include <vector>

#include "common/weights_bind.h"
#include "huffman_lengths/huffman_lengths.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "huffman_lengths";

void check_counts(const int64_t* counts, int64_t bins, int max_length) {
  int64_t used = 0, sum = 0;
  for (int64_t s = 0; s < bins; ++s) {
    if (counts[s] < 0) fail_value(kOp, "counts must not be negative, got " + std::to_string(counts[s]));
    if (counts[s] > kMaxCountSum - sum) fail_value(kOp, "counts must sum up to at most 2^57");
    sum += counts[s];
    used += counts[s] != 0;
  }
  if (used > int64_t{1} << max_length) {
    fail_value(kOp, "max_length " + std::to_string(max_length) + " is too short for " + std::to_string(used) +
                        " symbols in use");
  }
}

void lengths_of(py::handle counts, py::handle lengths, py::handle workspace, int max_length) {
  const TensorView c = dense_view(counts, kOp, "counts"), l = dense_view(lengths, kOp, "lengths");
  check_dtype(c, Dtype::i64, kOp, "counts");
  check_same_device(l, c, kOp, "lengths", "counts");
  check_dtype(l, Dtype::u8, kOp, "lengths");
  const int64_t bins = c.numel();
  check_numel(l, bins, kOp, "lengths");
  if (bins < 1 || bins > 1 << 16) fail_value(kOp, "counts must have 1 to 65536 elements, got " + std::to_string(bins));
  if (max_length < 1 || max_length > 16) {
    fail_value(kOp, "max_length must be 1 to 16, got " + std::to_string(max_length));
  }
  const int64_t* from = static_cast<const int64_t*>(c.data);
  uint8_t* to = static_cast<uint8_t*>(l.data);
  if (c.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    const TensorView w = workspace_view(workspace, c, huffman_lengths_workspace_bytes(bins), kOp);
    void* stream = current_stream(c);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return huffman_lengths_cuda(from, bins, max_length, to, w.data, c.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  (void)workspace;
  const std::vector<int64_t> own(from, from + bins);  // what is checked is what is used
  check_counts(own.data(), bins, max_length);
  const py::gil_scoped_release release;
  huffman_lengths_cpu(own.data(), bins, max_length, to);
}

}  // namespace

void bind_huffman_lengths(py::module_& m) {
  m.def("huffman_lengths", &lengths_of, py::arg("counts"), py::arg("lengths"), py::arg("workspace").none(true),
        py::arg("max_length"));
#ifdef EFFDL_WITH_CUDA
  m.def("huffman_lengths_workspace_bytes", &huffman_lengths_workspace_bytes);
#endif
}

}  // namespace effdl

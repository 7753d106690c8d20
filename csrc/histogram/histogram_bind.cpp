#include "common/weights_bind.h"
#include "histogram/histogram.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kOp = "histogram";

void histogram_counts(py::handle codes, py::handle counts) {
  const TensorView c = codes_view(codes, kOp, "codes"), out = dense_view(counts, kOp, "counts");
  check_same_device(out, c, kOp, "counts", "codes");
  check_dtype(out, Dtype::i64, kOp, "counts");
  const int64_t bins = out.numel();
  if (bins < 1 || bins > 1 << 16) fail_value(kOp, "bins must be 1 to 65536, got " + std::to_string(bins));
  const int code_bytes = static_cast<int>(dtype_size(c.dtype));
  int64_t* to = static_cast<int64_t*>(out.data);
  if (c.is_cuda()) {
#ifdef EFFDL_WITH_CUDA
    void* stream = current_stream(c);
    record_kernel(kOp, "cuda");
    const py::gil_scoped_release release;
    return histogram_cuda(c.data, code_bytes, c.numel(), bins, to, c.device.id, stream);
#else
    fail_no_cuda(kOp);
#endif
  }
  int64_t largest;
  {
    const py::gil_scoped_release release;
    largest = histogram_cpu(c.data, code_bytes, c.numel(), bins, to);
  }
  if (largest >= bins) {
    fail_value(kOp, "codes must be below bins = " + std::to_string(bins) + ", got " + std::to_string(largest));
  }
}

}  // namespace

void bind_histogram(py::module_& m) { m.def("histogram", &histogram_counts, py::arg("codes"), py::arg("counts")); }

}  // namespace effdl

#include <pybind11/pybind11.h>

#include "common/crc32c.h"
#include "common/tensor_view.h"

namespace py = pybind11;

namespace effdl {
namespace {

constexpr const char* kName = "crc32c";

// bytes, memoryview, mmap, numpy array ...: any buffer whose bytes lie one after the other.
struct Buffer {
  Py_buffer view{};
  explicit Buffer(py::handle object) {
    if (PyObject_GetBuffer(object.ptr(), &view, PyBUF_C_CONTIGUOUS) != 0) throw py::error_already_set();
  }
  Buffer(const Buffer&) = delete;
  ~Buffer() { PyBuffer_Release(&view); }
};

uint32_t unlocked(const void* data, size_t bytes, uint32_t initial) {
  const py::gil_scoped_release unlock;
  return crc32c(data, bytes, initial);
}

uint32_t bound(py::handle data, uint32_t initial) {
  if (PyObject_CheckBuffer(data.ptr()) != 0) {
    const Buffer buffer(data);
    return unlocked(buffer.view.buf, static_cast<size_t>(buffer.view.len), initial);
  }
  const TensorView x = view(data, kName, "data");
  if (x.is_cuda() || x.dtype != Dtype::u8 || x.ndim != 1 || (x.shape[0] > 1 && x.strides[0] != 1)) {
    fail_type(kName,
              "data must be a buffer or a contiguous uint8 tensor of shape (n,) on the CPU, got a " + describe(x));
  }
  return unlocked(x.data, static_cast<size_t>(x.numel()), initial);
}

}  // namespace

void bind_crc32c(py::module_& m) { m.def(kName, &bound, py::arg("data"), py::arg("initial") = 0); }

}  // namespace effdl

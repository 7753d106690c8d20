#include "common/weights_bind.h"

namespace py = pybind11;

namespace effdl {

TensorView dense_view(py::handle object, const char* op, const char* arg) {
  const TensorView v = view(object, op, arg);
  int64_t expected = 1;
  for (int i = v.ndim - 1; i >= 0; --i) {
    if (v.shape[i] != 1 && v.strides[i] != expected && v.numel() != 0) {
      fail_value(op, std::string(arg) + " must be contiguous, got a " + describe(v));
    }
    expected *= v.shape[i];
  }
  return v;
}

TensorView weights_view(py::handle object, const char* op, const char* arg) {
  const TensorView v = dense_view(object, op, arg);
  if (!is_floating(v.dtype)) {
    fail_type(op, std::string(arg) + " must be float32, float64, float16 or bfloat16, got " + dtype_name(v.dtype));
  }
  return v;
}

TensorView codes_view(py::handle object, const char* op, const char* arg) {
  const TensorView v = dense_view(object, op, arg);
  if (v.dtype != Dtype::u8 && v.dtype != Dtype::u16) {
    fail_type(op, std::string(arg) + " must be uint8 or uint16, got " + dtype_name(v.dtype));
  }
  return v;
}

void check_dtype(const TensorView& tensor, Dtype want, const char* op, const char* arg) {
  if (tensor.dtype != want) {
    fail_type(op, std::string(arg) + " must be " + dtype_name(want) + ", got " + dtype_name(tensor.dtype));
  }
}

void check_numel(const TensorView& tensor, int64_t want, const char* op, const char* arg) {
  if (tensor.numel() != want) {
    fail_value(op, std::string(arg) + " must have " + std::to_string(want) + " elements, got a " + describe(tensor));
  }
}

void check_bits(int bits, int most, const char* op) {
  if (bits < 1 || bits > most) {
    fail_value(op, "bits must be 1 to " + std::to_string(most) + " here, got " + std::to_string(bits));
  }
}

TensorView workspace_view(py::handle workspace, const TensorView& reference, int64_t bytes, const char* op) {
  const TensorView w = dense_view(workspace, op, "workspace");
  check_same_device(w, reference, op, "workspace", "the input");
  check_dtype(w, Dtype::u8, op, "workspace");
  if (w.numel() < bytes) {
    fail_value(op, "workspace must have at least " + std::to_string(bytes) + " elements, got a " + describe(w));
  }
  return w;
}

void fail_no_cuda(const char* op) { fail_value(op, "this build of effdl_fast has no CUDA kernels"); }

Quantizer quantizer_of(const TensorView& range, int bits, Dtype source, const char* op) {
  double lo, hi;
  if (range.dtype == Dtype::f64) {
    lo = static_cast<const double*>(range.data)[0];
    hi = static_cast<const double*>(range.data)[1];
  } else {
    lo = static_cast<const float*>(range.data)[0];
    hi = static_cast<const float*>(range.data)[1];
  }
  if (!quantizable(lo, hi, bits, source)) {
    fail_value(op, "lo and hi must be finite, lo <= hi, and neither too far apart nor too close together for " +
                       std::string(dtype_name(source)) + ": got " + std::string(py::repr(py::float_(lo))) + " and " +
                       std::string(py::repr(py::float_(hi))));
  }
  return make_quantizer(lo, hi, bits, source);
}

Bytes::Bytes(py::handle object, const char* op, const char* arg) {
  if (PyObject_CheckBuffer(object.ptr()) != 0) {
    if (PyObject_GetBuffer(object.ptr(), &buffer_, PyBUF_SIMPLE) != 0) {
      if (PyErr_ExceptionMatches(PyExc_BufferError) == 0) throw py::error_already_set();
      PyErr_Clear();
      fail_value(op,
                 std::string(arg) + " must be contiguous, got a " + Py_TYPE(object.ptr())->tp_name + " that is not");
    }
    data = static_cast<const uint8_t*>(buffer_.buf);
    size = buffer_.len;
    return;
  }
  tensor = dense_view(object, op, arg);
  check_dtype(tensor, Dtype::u8, op, arg);
  is_tensor = true;
  data = static_cast<const uint8_t*>(tensor.data);
  size = tensor.numel();
}

Bytes::~Bytes() {
  if (buffer_.obj != nullptr) PyBuffer_Release(&buffer_);
}

void fail_corrupt(const char* op, const std::string& message) {
  const py::object error = py::module_::import("effdl_fast.errors").attr("CorruptDataError");
  PyErr_SetString(error.ptr(), (std::string(op) + ": " + message).c_str());
  throw py::error_already_set();
}

}  // namespace effdl

#include "common/tensor_view.h"

namespace py = pybind11;

namespace effdl {
namespace {

struct Torch {
  const dlpack::ExchangeApi* api = nullptr;
  PyTypeObject* tensor = nullptr;
  PyTypeObject* parameter = nullptr;
  PyObject* is_neg = nullptr;  // interned method name
};
Torch torch_;

bool to_dtype(dlpack::DataType in, Dtype* out) {
  if (in.lanes != 1) return false;
  const auto is = [&](uint8_t code, uint8_t bits) { return in.code == code && in.bits == bits; };
  if (is(dlpack::kFloat, 32)) return *out = Dtype::f32, true;
  if (is(dlpack::kFloat, 64)) return *out = Dtype::f64, true;
  if (is(dlpack::kFloat, 16)) return *out = Dtype::f16, true;
  if (is(dlpack::kBfloat, 16)) return *out = Dtype::bf16, true;
  if (is(dlpack::kInt, 64)) return *out = Dtype::i64, true;
  if (is(dlpack::kInt, 32)) return *out = Dtype::i32, true;
  if (is(dlpack::kInt, 16)) return *out = Dtype::i16, true;
  if (is(dlpack::kInt, 8)) return *out = Dtype::i8, true;
  if (is(dlpack::kUInt, 8)) return *out = Dtype::u8, true;
  if (is(dlpack::kUInt, 16)) return *out = Dtype::u16, true;
  if (is(dlpack::kBool, 8)) return *out = Dtype::boolean, true;
  return false;
}

}  // namespace

void init_tensor_views() {
  const py::module_ torch = py::module_::import("torch");
  const py::object tensor = torch.attr("Tensor");
  if (!py::hasattr(tensor, "__dlpack_c_exchange_api__")) {
    throw py::import_error("effdl_fast needs torch >= 2.11 (no torch.Tensor.__dlpack_c_exchange_api__), found " +
                           py::str(torch.attr("__version__")).cast<std::string>());
  }
  const py::object capsule = tensor.attr("__dlpack_c_exchange_api__");
  auto* header = static_cast<dlpack::ExchangeHeader*>(PyCapsule_GetPointer(capsule.ptr(), "dlpack_exchange_api"));
  if (header == nullptr) throw py::error_already_set();
  while (header != nullptr && header->version.major != dlpack::kMajorVersion) header = header->prev_api;
  auto* api = reinterpret_cast<dlpack::ExchangeApi*>(header);
  if (api == nullptr || api->dltensor_from_py_object_no_sync == nullptr || api->current_work_stream == nullptr) {
    throw py::import_error("effdl_fast needs the DLPack 1.x C exchange API, which this torch does not offer");
  }
  torch_.api = api;
  // Kept for the life of the process: the module is never unloaded.
  torch_.tensor = reinterpret_cast<PyTypeObject*>(py::object(tensor).release().ptr());
  torch_.parameter =
      reinterpret_cast<PyTypeObject*>(torch.attr("nn").attr("Parameter").cast<py::object>().release().ptr());
  torch_.is_neg = PyUnicode_InternFromString("is_neg");
}

TensorView fresh_view(py::handle object, const char* op, const char* arg) {
  // Subclasses (FakeTensor, DTensor, ...) carry no plain memory; the Python layer sends them through the dispatcher.
  PyTypeObject* type = Py_TYPE(object.ptr());
  if (type != torch_.tensor && type != torch_.parameter) {
    fail_type(op, std::string(arg) + " must be a torch.Tensor, got " + type->tp_name);
  }
  dlpack::Tensor t{};
  if (torch_.api->dltensor_from_py_object_no_sync(object.ptr(), &t) != 0) {
    PyErr_Clear();  // torch says why at the length of a C++ backtrace
    const std::string layout = py::str(object.attr("layout")), device = py::str(object.attr("device"));
    fail_type(op, std::string(arg) + " must be a dense tensor in the memory of the CPU or a CUDA device, got layout " +
                      layout + ", dtype " + std::string(py::str(object.attr("dtype"))) + ", device " + device);
  }
  TensorView v;
  v.device = t.device;
  v.ndim = t.ndim;
  v.shape = t.shape;
  v.strides = t.strides;
  v.data = static_cast<char*>(t.data) + (t.data != nullptr ? t.byte_offset : 0);
  if (t.device.type == dlpack::kCUDAHost) {
    v.device = {dlpack::kCPU, 0};
  } else if (t.device.type != dlpack::kCPU && t.device.type != dlpack::kCUDA) {
    fail_value(op, std::string(arg) + " must be on the CPU or a CUDA device");
  }
  if (!to_dtype(t.dtype, &v.dtype))
    fail_type(op,
              std::string(arg) + " has a dtype that no kernel reads: " + std::string(py::str(object.attr("dtype"))));
  if (t.data == nullptr && v.numel() != 0) fail_value(op, std::string(arg) + " has no memory");
  return v;
}

TensorView view(py::handle object, const char* op, const char* arg) {
  const TensorView v = fresh_view(object, op, arg);
  if (is_floating(v.dtype)) {
    PyObject* negated = PyObject_CallMethodNoArgs(object.ptr(), torch_.is_neg);
    if (negated == nullptr) throw py::error_already_set();
    const bool is_neg = negated == Py_True;
    Py_DECREF(negated);
    if (is_neg) fail_value(op, std::string(arg) + " has its negative bit set: call .resolve_neg() first");
  }
  return v;
}

int64_t TensorView::numel() const {
  int64_t n = 1;
  for (int i = 0; i < ndim; ++i) n *= shape[i];
  return n;
}

bool TensorView::has_shape(std::initializer_list<int64_t> want) const {
  if (ndim != static_cast<int>(want.size())) return false;
  const int64_t* s = shape;
  for (int64_t w : want) {
    if (*s++ != w) return false;
  }
  return true;
}

void* current_stream(const TensorView& tensor) {
  if (!tensor.is_cuda()) return nullptr;
  void* stream = nullptr;
  if (torch_.api->current_work_stream(tensor.device.type, tensor.device.id, &stream) != 0)
    throw py::error_already_set();
  return stream;
}

std::string shape_string(const TensorView& tensor) {
  std::string s = "(";
  for (int i = 0; i < tensor.ndim; ++i) {
    if (i != 0) s += ", ";
    s += std::to_string(tensor.shape[i]);
  }
  return s + (tensor.ndim == 1 ? ",)" : ")");
}

std::string describe(const TensorView& tensor) {
  std::string device = tensor.is_cuda() ? "cuda:" + std::to_string(tensor.device.id) : "cpu";
  return std::string(dtype_name(tensor.dtype)) + " tensor of shape " + shape_string(tensor) + " on " + device;
}

void fail_value(const char* op, const std::string& message) { throw py::value_error(std::string(op) + ": " + message); }

void fail_type(const char* op, const std::string& message) { throw py::type_error(std::string(op) + ": " + message); }

void check_same_device(const TensorView& tensor, const TensorView& reference, const char* op, const char* arg,
                       const char* reference_arg) {
  if (tensor.device.type == reference.device.type && tensor.device.id == reference.device.id) return;
  fail_value(op, std::string(arg) + " must be on the device of " + reference_arg + ": got a " + describe(tensor) +
                     " and a " + describe(reference));
}

}  // namespace effdl

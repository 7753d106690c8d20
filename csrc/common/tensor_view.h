// Borrowed views of torch tensors, read through torch.Tensor.__dlpack_c_exchange_api__, and the checks on them.
// A view owns nothing: it is valid while the Python tensor is alive and not resized.
#pragma once
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>

#include "common/dlpack_abi.h"
#include "common/dtype.h"

namespace effdl {

struct TensorView {
  void* data = nullptr;  // first element; null only where numel is 0
  dlpack::Device device{};
  Dtype dtype{};
  int ndim = 0;
  const int64_t* shape = nullptr;
  const int64_t* strides = nullptr;  // in elements

  int64_t numel() const;
  bool is_cuda() const { return device.type == dlpack::kCUDA; }
  bool has_shape(std::initializer_list<int64_t> want) const;
};

// Looks up torch's exchange table and tensor types once, at import. Throws ImportError if torch is too old.
void init_tensor_views();

// The view of `object`, or TypeError/ValueError naming `op` and `arg` if it is no plain, dense, CPU or CUDA tensor.
TensorView view(pybind11::handle object, const char* op, const char* arg);
// The same for a tensor that the Python layer has just allocated, which cannot have its negative bit set.
TensorView fresh_view(pybind11::handle object, const char* op, const char* arg);

// The stream on which torch currently queues work for the view's device (null on CPU).
void* current_stream(const TensorView& tensor);

// "(2, 3)" and "float32 tensor of shape (2, 3) on cpu", for messages.
std::string shape_string(const TensorView& tensor);
std::string describe(const TensorView& tensor);

[[noreturn]] void fail_value(const char* op, const std::string& message);
[[noreturn]] void fail_type(const char* op, const std::string& message);
void check_same_device(const TensorView& tensor, const TensorView& reference, const char* op, const char* arg,
                       const char* reference_arg);

}  // namespace effdl

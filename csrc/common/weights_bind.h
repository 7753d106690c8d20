// Argument checks that the bindings of the compression ops share.
#pragma once
#include <pybind11/pybind11.h>

#include <string>

#include "common/quantizer.h"
#include "common/simd.h"
#include "common/tensor_view.h"

namespace effdl {

// The view of a contiguous tensor.
TensorView dense_view(pybind11::handle object, const char* op, const char* arg);
// Contiguous float32, float64, float16 or bfloat16.
TensorView weights_view(pybind11::handle object, const char* op, const char* arg);
// Contiguous uint8 or uint16.
TensorView codes_view(pybind11::handle object, const char* op, const char* arg);
void check_dtype(const TensorView& tensor, Dtype want, const char* op, const char* arg);
void check_numel(const TensorView& tensor, int64_t want, const char* op, const char* arg);
void check_bits(int bits, int most, const char* op);

// CUDA only: a contiguous tensor of at least `bytes` uint8 on the device of `reference`.
TensorView workspace_view(pybind11::handle workspace, const TensorView& reference, int64_t bytes, const char* op);
[[noreturn]] void fail_no_cuda(const char* op);

// The quantizer of a CPU range tensor (lo, hi) for a source of this dtype.
Quantizer quantizer_of(const TensorView& range, int bits, Dtype source, const char* op);

// Bytes from a contiguous uint8 tensor, or on the CPU from any contiguous buffer (bytes, memoryview, mmap), for as long
// as this object lives.
class Bytes {
 public:
  Bytes(pybind11::handle object, const char* op, const char* arg);
  ~Bytes();
  Bytes(const Bytes&) = delete;
  Bytes& operator=(const Bytes&) = delete;
  const uint8_t* data = nullptr;
  int64_t size = 0;
  bool is_tensor = false;
  TensorView tensor;  // if is_tensor

 private:
  Py_buffer buffer_{};
};

[[noreturn]] void fail_corrupt(const char* op, const std::string& message);  // effdl_fast.CorruptDataError

}  // namespace effdl

// Argument checks that the CUDA half of the ops on neighbours shares.
#pragma once
#include <pybind11/pybind11.h>

#include "common/points_cuda.h"
#include "common/tensor_view.h"

namespace effdl {

// As points_view, on CUDA; raises in a build without CUDA kernels.
Points cuda_points_view(pybind11::handle object, const char* op, const char* arg);
// Contiguous, of this dtype and size, on the device of `reference`.
void* device_data(pybind11::handle object, Dtype dtype, int64_t numel, pybind11::handle reference, const char* op,
                  const char* arg);
template <class T>
T* device_data(pybind11::handle object, Dtype dtype, int64_t numel, pybind11::handle reference, const char* op,
               const char* arg) {
  return static_cast<T*>(device_data(object, dtype, numel, reference, op, arg));
}
// (metric, scale, exact_scale, square_scale, bound, least)
CudaFrame cuda_frame(const pybind11::tuple& frame, const char* op);

}  // namespace effdl

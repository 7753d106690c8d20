// What the CUDA kernels of several ops share: launches that throw, element types, wide memory access, sums.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

#include "common/dtype.h"

namespace effdl::cuda {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

inline void check(cudaError_t error, const char* op) {
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string(op) + ": " + cudaGetErrorName(error) + ": " + cudaGetErrorString(error));
  }
}

// Makes `device` current and puts the caller's device back.
class DeviceGuard {
 public:
  DeviceGuard(int device, const char* op) : device_(device) {
    check(cudaGetDevice(&previous_), op);
    if (previous_ != device_) check(cudaSetDevice(device_), op);
  }
  ~DeviceGuard() {
    if (previous_ != device_) cudaSetDevice(previous_);
  }
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int device_, previous_ = 0;
};

template <class... Parameters, class... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), int blocks, int threads, void* stream,
            Arguments&&... arguments) {
  kernel<<<blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(std::forward<Arguments>(arguments)...);
  check(cudaGetLastError(), op);
}

// The same with `bytes` of dynamic shared memory, which may be more than a kernel gets unasked.
template <class... Parameters, class... Arguments>
void launch_shared(const char* op, void (*kernel)(Parameters...), int blocks, int threads, int bytes, void* stream,
                   Arguments&&... arguments) {
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), op);
  kernel<<<blocks, threads, bytes, static_cast<cudaStream_t>(stream)>>>(std::forward<Arguments>(arguments)...);
  check(cudaGetLastError(), op);
}

// Storage types compute in float, double in itself.
template <class T>
struct Arithmetic {
  using Real = float;
};
template <>
struct Arithmetic<double> {
  using Real = double;
};
template <class T>
using Real = typename Arithmetic<T>::Real;

__device__ inline float to_real(float v) { return v; }
__device__ inline double to_real(double v) { return v; }
__device__ inline float to_real(__half v) { return __half2float(v); }
__device__ inline float to_real(__nv_bfloat16 v) { return __bfloat162float(v); }

template <class T>
__device__ inline T from_real(Real<T> v) {
  return v;
}
template <>
__device__ inline __half from_real<__half>(float v) {
  return __float2half_rn(v);
}
template <>
__device__ inline __nv_bfloat16 from_real<__nv_bfloat16>(float v) {
  return __float2bfloat16_rn(v);
}

// n consecutive elements that move in one instruction.
template <class T, int n>
struct alignas(n * sizeof(T)) Pack {
  T v[n];
};
template <class T, int n>
__device__ inline Pack<T, n> load(const T* p) {
  return *reinterpret_cast<const Pack<T, n>*>(p);
}
template <class T, int n>
__device__ inline void store(T* p, const Pack<T, n>& pack) {
  *reinterpret_cast<Pack<T, n>*>(p) = pack;
}

// A pack that waits in registers: as words, since the compiler would keep each 16-bit element in a register of its own.
template <int bytes>
struct alignas(bytes) Words {
  using Word = std::conditional_t<bytes % 4 == 0, uint32_t, uint16_t>;
  Word w[bytes / sizeof(Word)];
};
template <class T, int n>
using Waiting = Words<n* static_cast<int>(sizeof(T))>;
template <class T, int n>
__device__ inline Waiting<T, n> fetch(const T* p) {
  return *reinterpret_cast<const Waiting<T, n>*>(p);
}
template <class T, int n>
__device__ inline Pack<T, n> unpack(const Waiting<T, n>& words) {
  Pack<T, n> pack;
  memcpy(&pack, &words, sizeof(pack));
  return pack;
}

// One floating-point element of a dtype known at run time.
template <class Real>
__device__ inline Real read(const void* data, Dtype dtype, int64_t i) {
  switch (dtype) {
    case Dtype::f64:
      return static_cast<Real>(static_cast<const double*>(data)[i]);
    case Dtype::f16:
      return static_cast<Real>(to_real(static_cast<const __half*>(data)[i]));
    case Dtype::bf16:
      return static_cast<Real>(to_real(static_cast<const __nv_bfloat16*>(data)[i]));
    default:
      return static_cast<Real>(static_cast<const float*>(data)[i]);
  }
}

__device__ inline void write(void* data, Dtype dtype, int64_t i, double value) {
  switch (dtype) {
    case Dtype::f64:
      static_cast<double*>(data)[i] = value;
      break;
    case Dtype::f16:
      static_cast<__half*>(data)[i] = __float2half_rn(static_cast<float>(value));
      break;
    case Dtype::bf16:
      static_cast<__nv_bfloat16*>(data)[i] = __float2bfloat16_rn(static_cast<float>(value));
      break;
    default:
      static_cast<float*>(data)[i] = static_cast<float>(value);
  }
}

// Sum over `width` (a power of two) neighbouring lanes; every lane of the warp takes part and gets its group's sum.
__device__ inline double lanes_sum(double v, int width) {
  for (int offset = width / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
}

// Sum over the block, the same for every thread. The order is fixed, so the result is reproducible.
template <int threads>
__device__ inline double block_sum(double v) {
  __shared__ double warps[threads / kWarp];
  v = lanes_sum(v, kWarp);
  __syncthreads();  // the previous call's readers are done
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = v;
  __syncthreads();
  double sum = 0.0;
  for (int i = 0; i < threads / kWarp; ++i) sum += warps[i];
  return sum;
}

}  // namespace effdl::cuda

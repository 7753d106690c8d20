#include "common/simd.h"
#include "common/weights_cuda.cuh"
#include "quantize/quantize.h"

namespace effdl {
namespace {

using namespace cuda;

constexpr int kMostBlocks = kBlock;  // of the first pass for the range: the second has a thread for each

template <class V>
struct Range {
  V lo, hi;
  bool finite;
};

template <class V>
__device__ inline Range<V> merge(const Range<V>& a, const Range<V>& b) {
  return {b.lo < a.lo ? b.lo : a.lo, b.hi > a.hi ? b.hi : a.hi, a.finite && b.finite};
}

// The range of all threads of a block, in thread 0.
template <int threads, class V>
__device__ inline Range<V> block_merge(Range<V> r) {
  __shared__ Range<V> warps[threads / kWarp];
  const auto in_warp = [](Range<V> own, int lanes) {
    for (int offset = lanes / 2; offset > 0; offset /= 2) {
      own = merge(own, Range<V>{__shfl_xor_sync(kAllLanes, own.lo, offset), __shfl_xor_sync(kAllLanes, own.hi, offset),
                                __shfl_xor_sync(kAllLanes, static_cast<int>(own.finite), offset) != 0});
    }
    return own;
  };
  r = in_warp(r, kWarp);
  if (lane_id() == 0) warps[warp_id()] = r;
  __syncthreads();
  if (warp_id() == 0) r = in_warp(warps[lane_id() % (threads / kWarp)], kWarp);
  return r;
}

template <class T>
__global__ void __launch_bounds__(kThreads) min_max_kernel(const T* x, int64_t n, Range<Real<T>>* partial) {
  const Real<T> first = to_real(x[0]);
  Range<Real<T>> r{first, first, true};
  for_each_run(x, n, [&](int64_t i, auto size) {
    const Pack<T, size()> pack = load<T, size()>(x + i);
#pragma unroll
    for (int j = 0; j < size(); ++j) {
      const Real<T> v = to_real(pack.v[j]);
      r = merge(r, {v, v, static_cast<bool>(isfinite(v))});
    }
  });
  r = block_merge<kThreads>(r);
  if (threadIdx.x == 0) partial[blockIdx.x] = r;
}

// One block. parts == 0 stands for no elements.
template <class V>
__global__ void __launch_bounds__(kBlock, 1) min_max_finish_kernel(const Range<V>* partial, int parts, V* range) {
  Range<V> r{V(0), V(0), true};
  if (parts > 0) r = partial[least(static_cast<int>(threadIdx.x), parts - 1)];
  r = block_merge<kBlock>(r);
  if (threadIdx.x != 0) return;
  const V nan = static_cast<V>(NAN);
  range[0] = r.finite ? r.lo + V(0) : nan;  // -0 becomes 0
  range[1] = r.finite ? r.hi + V(0) : nan;
}

template <class T, class Code>
__global__ void __launch_bounds__(kThreads)
    quantize_kernel(const T* x, int64_t n, const void* range, int bits, Code* codes) {
  Quantizer q{0.0, 0.0, 0.0, bits, true};  // code 0 everywhere
  read_quantizer(range, sizeof(T) == 8, bits, &q);
  quantize_all(x, n, q, codes, [](uint32_t) {});
}

}  // namespace

int64_t min_max_workspace_bytes() { return kMostBlocks * static_cast<int64_t>(sizeof(Range<double>)); }

void min_max_cuda(const void* x, Dtype dtype, int64_t n, void* range, void* workspace, int device, void* stream) {
  const char* op = "quantize";
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  with_type(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    using V = Real<T>;
    auto* partial = static_cast<Range<V>*>(workspace);
    int blocks = 0;
    if (n > 0) {
      blocks = static_cast<int>(least<int64_t>(pass_blocks(n, 32, device, op), kMostBlocks));
      launch(op, min_max_kernel<T>, blocks, kThreads, stream, static_cast<const T*>(x), n, partial);
    }
    launch(op, min_max_finish_kernel<V>, 1, kBlock, stream, partial, blocks, static_cast<V*>(range));
  });
}

void quantize_cuda(const void* x, Dtype dtype, int64_t n, const void* range, int bits, void* codes, int code_bytes,
                   int device, void* stream) {
  const char* op = "quantize";
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  if (n == 0) return;
  const int blocks = pass_blocks(n, 8, device, op);
  with_type(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const auto* from = static_cast<const T*>(x);
    if (code_bytes == 1) {
      launch(op, quantize_kernel<T, uint8_t>, blocks, kThreads, stream, from, n, range, bits,
             static_cast<uint8_t*>(codes));
    } else {
      launch(op, quantize_kernel<T, uint16_t>, blocks, kThreads, stream, from, n, range, bits,
             static_cast<uint16_t*>(codes));
    }
  });
}

}  // namespace effdl

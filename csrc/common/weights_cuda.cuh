// What the CUDA kernels of weight compression share: workspace, block sums, the quantizer, passes over weights,
// counting.
#pragma once
#include "common/cuda_utils.cuh"
#include "common/quantizer_portable.h"

namespace effdl::cuda {

constexpr int kThreads = 256;  // of kernels that pass over all elements
constexpr int kBlock = 1024;   // of kernels that are one block
constexpr int kWarps = kBlock / kWarp;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline int multiprocessors(int device, const char* op) {
  int count = 0;
  check(cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device), op);
  return count;
}

// Blocks for a pass over n items with `each` per thread: not more than are at work at the same time.
inline int pass_blocks(int64_t n, int each, int device, const char* op) {
  const int64_t wanted = ceil_div(n, int64_t{kThreads} * each), most = 8 * int64_t{multiprocessors(device, op)};
  return static_cast<int>(wanted < 1 ? 1 : wanted < most ? wanted : most);
}

inline void clear(void* memory, int64_t bytes, void* stream, const char* op) {
  check(cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), static_cast<cudaStream_t>(stream)), op);
}

// Cuts a workspace into arrays. Without memory it only adds up: bytes() is then what the workspace needs.
class Workspace {
 public:
  explicit Workspace(void* memory) : begin_(static_cast<char*>(memory)) {}
  template <class T>
  T* take(int64_t count) {
    constexpr int64_t kAlign = 256;
    char* at = begin_ + bytes_;
    bytes_ += (count * static_cast<int64_t>(sizeof(T)) + kAlign - 1) / kAlign * kAlign;
    return reinterpret_cast<T*>(at);
  }
  int64_t bytes() const { return bytes_; }

 private:
  char* begin_;
  int64_t bytes_ = 0;
};

// f(p) with a null pointer to the element type.
template <class F>
void with_type(Dtype dtype, F&& f) {
  if (dtype == Dtype::f64) return f(static_cast<double*>(nullptr));
  if (dtype == Dtype::f16) return f(static_cast<__half*>(nullptr));
  if (dtype == Dtype::bf16) return f(static_cast<__nv_bfloat16*>(nullptr));
  f(static_cast<float*>(nullptr));
}

__device__ inline int lane_id() { return static_cast<int>(threadIdx.x) % kWarp; }
__device__ inline int warp_id() { return static_cast<int>(threadIdx.x) / kWarp; }
__device__ inline unsigned lanes_below() { return (1u << lane_id()) - 1u; }
__device__ inline int64_t grid_thread() { return int64_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ inline int64_t grid_threads() { return int64_t{gridDim.x} * blockDim.x; }
template <class V>
__host__ __device__ inline V least(V a, V b) {
  return a < b ? a : b;
}

// Inclusive sum over the lanes of a warp.
template <class V>
__device__ inline V warp_scan(V v) {
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const V below = __shfl_up_sync(kAllLanes, v, offset);
    if (lane_id() >= offset) v += below;
  }
  return v;
}

// Sum of the values of all threads before this one in a block of kBlock, and of all.
template <class V>
__device__ inline V block_scan(V v, V* total) {
  __shared__ V warps[kWarps];
  const V inclusive = warp_scan(v);
  __syncthreads();  // the previous call's readers are done
  if (lane_id() == kWarp - 1) warps[warp_id()] = inclusive;
  __syncthreads();
  if (warp_id() == 0) warps[lane_id()] = warp_scan(warps[lane_id()]);
  __syncthreads();
  *total = warps[kWarps - 1];
  return (warp_id() == 0 ? V(0) : warps[warp_id() - 1]) + inclusive - v;
}
template <class V>
__device__ inline V block_total(V v) {
  V total;
  block_scan(v, &total);
  return total;
}

// ---- quantizer: docs/format.md ----

// From a range (lo, hi) in device memory; false if that is none.
__device__ inline bool read_quantizer(const void* range, bool is_double, int bits, Quantizer* q) {
  const double lo = is_double ? static_cast<const double*>(range)[0] : static_cast<const float*>(range)[0];
  const double hi = is_double ? static_cast<const double*>(range)[1] : static_cast<const float*>(range)[1];
  const Dtype source = is_double ? Dtype::f64 : Dtype::f32;
  if (!portable::quantizable(lo, hi, bits, source)) return false;
  *q = portable::make_quantizer(lo, hi, bits, source);
  return true;
}

// The intrinsics keep the compiler from fusing a multiplication and an addition.
template <class T>
__device__ inline uint32_t code_of(const Quantizer& q, T element) {
  if (q.wide || sizeof(T) == 8) {
    const double last = (1 << q.bits) - 1;
    const double scaled = __dmul_rn(__dsub_rn(static_cast<double>(to_real(element)), q.lo), q.inv_step);
    const double from_zero = scaled > 0.0 ? scaled : 0.0;
    return static_cast<uint32_t>(from_zero < last ? from_zero : last);
  }
  const float lo = static_cast<float>(q.lo), inv_step = static_cast<float>(q.inv_step);
  const float last = static_cast<float>((1 << q.bits) - 1);
  const float scaled = __fmul_rn(__fsub_rn(static_cast<float>(to_real(element)), lo), inv_step);
  const float from_zero = scaled > 0.0f ? scaled : 0.0f;
  return static_cast<uint32_t>(from_zero < last ? from_zero : last);
}

template <class T>
__device__ inline T value_of(const Quantizer& q, uint32_t code) {
  if (q.wide) {
    const double v = __dadd_rn(q.lo, __dmul_rn(__dadd_rn(static_cast<double>(code), 0.5), q.step));
    return from_real<T>(static_cast<Real<T>>(v));
  }
  const float lo = static_cast<float>(q.lo), step = static_cast<float>(q.step);
  const float v = __fadd_rn(lo, __fmul_rn(__fadd_rn(static_cast<float>(code), 0.5f), step));
  return from_real<T>(static_cast<Real<T>>(v));
}

// ---- passes over all elements ----

template <int n>
using Size = std::integral_constant<int, n>;

// f(i, Size<k>) for runs of k neighbours from i on that cover [0, n), once over the whole grid: such that 16 bytes of p
// from p + i on are aligned, and single elements before the first and after the last of these.
template <class T, class F>
__device__ inline void for_each_run(const T* p, int64_t n, F f) {
  constexpr int kPack = 16 / static_cast<int>(sizeof(T));
  const auto past = static_cast<int64_t>(reinterpret_cast<uintptr_t>(p) % 16);
  const int64_t head = least((16 - past) % 16 / static_cast<int64_t>(sizeof(T)), n);
  const int64_t packs = (n - head) / kPack, tail = head + packs * kPack, thread = grid_thread();
  for (int64_t i = thread; i < packs; i += grid_threads()) f(head + i * kPack, Size<kPack>{});
  if (thread < head) f(thread, Size<1>{});
  if (thread < n - tail) f(tail + thread, Size<1>{});
}

// n neighbours where the address may not be a multiple of their size.
template <class T, int n>
__device__ inline Pack<T, n> load_any(const T* p) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(Pack<T, n>) == 0) return load<T, n>(p);
  Pack<T, n> pack;
#pragma unroll
  for (int j = 0; j < n; ++j) pack.v[j] = p[j];
  return pack;
}
template <class T, int n>
__device__ inline void store_any(T* p, const Pack<T, n>& pack) {
  if (reinterpret_cast<uintptr_t>(p) % sizeof(pack) == 0) return store(p, pack);
#pragma unroll
  for (int j = 0; j < n; ++j) p[j] = pack.v[j];
}

// Word i of bytes with any alignment.
__device__ inline uint32_t read_word(const uint8_t* bytes, int i) {
  if (reinterpret_cast<uintptr_t>(bytes) % 2 == 0) return reinterpret_cast<const uint16_t*>(bytes)[i];
  return bytes[2 * i] | static_cast<uint32_t>(bytes[2 * i + 1]) << 8;
}

// n words from bytes with any alignment.
__device__ inline void copy_words(const uint8_t* from, int64_t n, uint16_t* to) {
  for_each_run(to, n, [&](int64_t i, auto size) {
    Pack<uint16_t, size()> pack;
    if (reinterpret_cast<uintptr_t>(from + 2 * i) % sizeof(pack) == 0) {
      pack = load<uint16_t, size()>(reinterpret_cast<const uint16_t*>(from + 2 * i));
    } else {
#pragma unroll
      for (int j = 0; j < size(); ++j) pack.v[j] = static_cast<uint16_t>(read_word(from + 2 * i, j));
    }
    store(to + i, pack);
  });
}

// Codes of x; count(code) for each.
template <class T, class Code, class Count>
__device__ inline void quantize_all(const T* x, int64_t n, const Quantizer& q, Code* codes, Count count) {
  for_each_run(x, n, [&](int64_t i, auto size) {
    const Pack<T, size()> from = load<T, size()>(x + i);
    Pack<Code, size()> to;
#pragma unroll
    for (int j = 0; j < size(); ++j) {
      const uint32_t code = code_of(q, from.v[j]);
      count(code);
      to.v[j] = static_cast<Code>(code);
    }
    store_any(codes + i, to);
  });
}

// ---- counting ----

constexpr int kSharedBins = 4096;

__device__ inline void add_count(int64_t* count, int64_t more) {
  atomicAdd(reinterpret_cast<unsigned long long*>(count), static_cast<unsigned long long>(more));
}

// How often codes occur in what a block of kThreads sees: in shared memory where that holds the bins, for few bins in
// one table per warp, so that the many equal codes of different warps do not wait for each other. flush() adds to
// `counts`. 32 bits are enough: pass_blocks() gives 2^32 codes a block only beyond any memory.
class BlockCounts {
 public:
  __device__ BlockCounts(uint32_t* tables, int bins, int64_t* counts) : counts_(counts), tables_(tables), bins_(bins) {
    if (bins_ > kSharedBins) return;
    copies_ = kThreads / kWarp;
    while (copies_ * bins_ > kSharedBins) copies_ /= 2;
    for (int i = threadIdx.x; i < copies_ * bins_; i += kThreads) tables_[i] = 0;
    mine_ = tables_ + warp_id() % copies_ * bins_;
    __syncthreads();
  }
  __device__ void add(uint32_t code) const {
    if (bins_ > kSharedBins) {
      add_count(counts_ + code, 1);
    } else {
      atomicAdd(mine_ + code, 1u);
    }
  }
  __device__ void flush() const {
    if (bins_ > kSharedBins) return;
    __syncthreads();
    for (int b = threadIdx.x; b < bins_; b += kThreads) {
      uint32_t sum = 0;
      for (int copy = 0; copy < copies_; ++copy) sum += tables_[copy * bins_ + b];
      if (sum != 0) add_count(counts_ + b, sum);
    }
  }

 private:
  int64_t* counts_;
  uint32_t *tables_, *mine_ = nullptr;
  int bins_, copies_ = 0;
};

}  // namespace effdl::cuda

#include <algorithm>
#include <utility>

#include "common/cuda_utils.cuh"
#include "common/ga_loss_cuda.h"

namespace effdl::ga_loss {
namespace {

using cuda::Pack;
using cuda::Real;

constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = 4096;
constexpr int64_t kPiece = 8192;

// The tensor as lines along its most contiguous axis.
struct Lines {
  int64_t outer, middle, length;
  Strides in, out, up;  // .n outer, .c middle, .s along the line
  int64_t pieces;       // parts of a line, of kPiece elements
  int group;            // threads per part
};

Lines lay_out(const Scaling& a) {
  Lines l = {a.n, a.classes, a.inner, a.grad_strides, a.out_strides, a.upstream_strides, 1, 1};
  l.up.c = 0;
  if (l.length == 1 || l.in.c < l.in.s) {
    std::swap(l.middle, l.length);
    for (Strides* s : {&l.in, &l.out, &l.up}) std::swap(s->c, s->s);
  }
  // Axes that follow each other in all tensors are one.
  auto merge = [&](int64_t* count, int64_t Strides::* axis) {
    for (const Strides* s : {&l.in, &l.out, &l.up}) {
      if (*count != 1 && s->*axis != s->s * l.length) return;
    }
    l.length *= std::exchange(*count, 1);
  };
  merge(&l.middle, &Strides::c);
  if (l.middle == 1) merge(&l.outer, &Strides::n);
  l.pieces = std::max<int64_t>((l.length + kPiece - 1) / kPiece, 1);
  while (l.group < kThreads && l.group * 8 < l.length) l.group *= 2;
  return l;
}

template <class T>
__global__ void __launch_bounds__(kThreads) scale_kernel(const Scaling a, const Lines l) {
  constexpr int n = 16 / static_cast<int>(sizeof(T));
  const Real<T> norm = a.norm == nullptr ? Real<T>(1) : static_cast<Real<T>>(*a.norm);
  const int64_t parts = l.outer * l.middle * l.pieces;
  const int lane = threadIdx.x & (l.group - 1), groups = kThreads / l.group;
  for (int64_t part = int64_t{blockIdx.x} * groups + threadIdx.x / l.group; part < parts;
       part += int64_t{gridDim.x} * groups) {
    const int64_t line = l.pieces == 1 ? part : part / l.pieces;
    const int64_t i = l.middle == 1 ? line : line / l.middle, j = line - i * l.middle;
    const int64_t begin = (part - line * l.pieces) * kPiece;
    const int length = static_cast<int>(l.length - begin < kPiece ? l.length - begin : kPiece);
    const T* in = static_cast<const T*>(a.grad) + i * l.in.n + j * l.in.c + begin * l.in.s;
    T* out = static_cast<T*>(a.out) + i * l.out.n + j * l.out.c + begin * l.out.s;
    const int64_t up = i * l.up.n + j * l.up.c + begin * l.up.s;
    auto factor = [&](int e) { return cuda::read<Real<T>>(a.upstream, a.upstream_dtype, up + e * l.up.s) * norm; };
    const Real<T> common = factor(0);
    // What is 0 stays 0: an ignored sample gets no gradient from an infinite upstream gradient either.
    auto scaled = [&](T value, int e) {
      const Real<T> g = cuda::to_real(value);
      return g == Real<T>(0) ? value : cuda::from_real<T>(g * (l.up.s == 0 ? common : factor(e)));
    };
    if (l.up.s == 0 && common == Real<T>(1) && out == in) continue;
    int packs = 0, head = 0;
    const auto address = reinterpret_cast<uintptr_t>(in);
    if (l.in.s == 1 && l.out.s == 1 && (address ^ reinterpret_cast<uintptr_t>(out)) % 16 == 0) {
      head = static_cast<int>((16 - address % 16) % 16 / sizeof(T));
      head = head < length ? head : length;
      packs = (length - head) / n;
    }
#pragma unroll 2
    for (int k = lane; k < packs; k += l.group) {
      const int e = head + k * n;
      Pack<T, n> v = cuda::load<T, n>(in + e);
#pragma unroll
      for (int m = 0; m < n; ++m) {
        v.v[m] = scaled(v.v[m], e + m);
      }
      cuda::store<T, n>(out + e, v);
    }
#pragma unroll 1
    for (int k = lane; k < length - packs * n; k += l.group) {
      const int e = k < head ? k : k + packs * n;
      out[e * l.out.s] = scaled(in[e * l.in.s], e);
    }
  }
}

}  // namespace

void scale_cuda(const Scaling& a, int device, void* stream) {
  constexpr const char* op = "ga_loss_scale";
  if (a.n * a.classes * a.inner == 0) return;
  const cuda::DeviceGuard guard(device, op);
  const Lines l = lay_out(a);
  const int groups = kThreads / l.group;
  const int blocks = static_cast<int>(std::min((l.outer * l.middle * l.pieces + groups - 1) / groups, kMaxBlocks));
  auto run = [&](auto kernel) { cuda::launch(op, kernel, blocks, kThreads, stream, a, l); };
  switch (a.dtype) {
    case Dtype::f64:
      return run(scale_kernel<double>);
    case Dtype::f16:
      return run(scale_kernel<__half>);
    case Dtype::bf16:
      return run(scale_kernel<__nv_bfloat16>);
    default:
      return run(scale_kernel<float>);
  }
}

}  // namespace effdl::ga_loss

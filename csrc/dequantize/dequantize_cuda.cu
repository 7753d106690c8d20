#include "common/simd.h"
#include "common/weights_cuda.cuh"
#include "dequantize/dequantize.h"

namespace effdl {
namespace {

using namespace cuda;

template <class Code, class T>
__global__ void __launch_bounds__(kThreads)
    dequantize_kernel(const Code* codes, int64_t n, const void* range, bool range_is_double, int bits, T* out) {
  Quantizer q{NAN, NAN, NAN, bits, true};
  read_quantizer(range, range_is_double, bits, &q);
  for_each_run(out, n, [&](int64_t i, auto size) {
    const Pack<Code, size()> from = load_any<Code, size()>(codes + i);
    Pack<T, size()> to;
#pragma unroll
    for (int j = 0; j < size(); ++j) to.v[j] = value_of<T>(q, from.v[j]);
    store(out + i, to);
  });
}

}  // namespace

void dequantize_cuda(const void* codes, int code_bytes, int64_t n, const void* range, bool range_is_double, int bits,
                     void* out, Dtype dtype, int device, void* stream) {
  const char* op = "dequantize";
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  if (n == 0) return;
  const int blocks = pass_blocks(n, 8, device, op);
  with_type(dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (code_bytes == 1) {
      launch(op, dequantize_kernel<uint8_t, T>, blocks, kThreads, stream, static_cast<const uint8_t*>(codes), n, range,
             range_is_double, bits, static_cast<T*>(out));
    } else {
      launch(op, dequantize_kernel<uint16_t, T>, blocks, kThreads, stream, static_cast<const uint16_t*>(codes), n,
             range, range_is_double, bits, static_cast<T*>(out));
    }
  });
}

}  // namespace effdl

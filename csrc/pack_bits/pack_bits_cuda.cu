#include "common/pack_bits_cuda.cuh"
#include "common/simd.h"
#include "pack_bits/pack_bits.h"

namespace effdl {
namespace {

using namespace cuda;

template <class Code>
__global__ void __launch_bounds__(kThreads) pack_bits_kernel(const Code* codes, int64_t n, int bits, uint8_t* packed) {
  pack_all(n, bits, packed, [&](int64_t i) { return static_cast<uint32_t>(codes[i]); });
}

}  // namespace

void pack_bits_cuda(const void* codes, int code_bytes, int64_t n, int bits, uint8_t* packed, int device, void* stream) {
  const char* op = "pack_bits";
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  if (n == 0) return;
  const int blocks = pass_blocks(ceil_div(packed_bytes(n, bits), 4), 1, device, op);
  if (code_bytes == 1) {
    launch(op, pack_bits_kernel<uint8_t>, blocks, kThreads, stream, static_cast<const uint8_t*>(codes), n, bits,
           packed);
  } else {
    launch(op, pack_bits_kernel<uint16_t>, blocks, kThreads, stream, static_cast<const uint16_t*>(codes), n, bits,
           packed);
  }
}

}  // namespace effdl

#include "common/pack_bits_cuda.cuh"
#include "common/simd.h"
#include "unpack_bits/unpack_bits.h"

namespace effdl {
namespace {

using namespace cuda;

template <class Code>
__global__ void __launch_bounds__(kThreads)
    unpack_bits_kernel(const uint8_t* packed, int64_t n, int bits, Code* codes) {
  const int64_t bytes = packed_bytes(n, bits);
  for (int64_t i = grid_thread(); i < n; i += grid_threads()) {
    codes[i] = static_cast<Code>(packed_code(packed, bytes, i * bits, bits));
  }
}

}  // namespace

void unpack_bits_cuda(const uint8_t* packed, int64_t n, int bits, void* codes, int code_bytes, int device,
                      void* stream) {
  const char* op = "unpack_bits";
  const DeviceGuard guard(device, op);
  record_kernel(op, "cuda");
  if (n == 0) return;
  const int blocks = pass_blocks(n, 4, device, op);
  if (code_bytes == 1) {
    launch(op, unpack_bits_kernel<uint8_t>, blocks, kThreads, stream, packed, n, bits, static_cast<uint8_t*>(codes));
  } else {
    launch(op, unpack_bits_kernel<uint16_t>, blocks, kThreads, stream, packed, n, bits, static_cast<uint16_t*>(codes));
  }
}

}  // namespace effdl

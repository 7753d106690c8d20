#include "common/simd_lanes_avx512.h"
#include "huffman_decode/huffman_decode.h"
#define EFFDL_LEVEL avx512
#include "huffman_decode/huffman_decode_body.inl"

namespace effdl::huffman_decode {
extern const Kernels kernels_avx512 = avx512::huffman_decode_kernels();
}  // namespace effdl::huffman_decode

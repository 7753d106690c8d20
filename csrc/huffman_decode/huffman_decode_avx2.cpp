#include "common/simd_lanes_avx2.h"
#include "huffman_decode/huffman_decode.h"
#define EFFDL_LEVEL avx2
#include "huffman_decode/huffman_decode_body.inl"

namespace effdl::huffman_decode {
extern const Kernels kernels_avx2 = avx2::huffman_decode_kernels();
}  // namespace effdl::huffman_decode

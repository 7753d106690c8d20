#include "common/simd_lanes_avx512.h"
#include "huffman_encode/huffman_encode.h"
#define EFFDL_LEVEL avx512
#include "huffman_encode/huffman_encode_body.inl"

namespace effdl::huffman_encode {
extern const Kernels kernels_avx512 = avx512::huffman_encode_kernels();
}  // namespace effdl::huffman_encode

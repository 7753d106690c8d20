#include "common/simd_lanes_avx2.h"
#include "huffman_encode/huffman_encode.h"
#define EFFDL_LEVEL avx2
#include "huffman_encode/huffman_encode_body.inl"

namespace effdl::huffman_encode {
extern const Kernels kernels_avx2 = avx2::huffman_encode_kernels();
}  // namespace effdl::huffman_encode

// Table of contents of the compiled module effdl_fast._C: one line per op.
#include <pybind11/pybind11.h>

#include "common/parallel.h"
#include "common/simd.h"
#include "common/tensor_view.h"

namespace py = pybind11;

namespace effdl {
using Bind = void(py::module_& m);
Bind bind_build_info, bind_exp_ga_loss, bind_pow3_ga_loss, bind_linear_ga_loss, bind_ga_loss_scale, bind_quantize,
    bind_dequantize, bind_histogram, bind_entropy, bind_pack_bits, bind_unpack_bits, bind_huffman_lengths,
    bind_huffman_encode, bind_huffman_decode, bind_compress_weights, bind_decompress_weights, bind_points_cuda,
    bind_redundancy_depth, bind_knn, bind_mlp_forward, bind_mlp_moments, bind_layer_moments, bind_ridge_solve,
    bind_crc32c;
}  // namespace effdl

PYBIND11_MODULE(_C, m) {
  m.doc() =
      "Compiled kernels of effdl_fast. Use effdl_fast.ops: these raw forms allocate nothing and know no autograd.";
  effdl::init_tensor_views();
  effdl::init_parallel();
  effdl::init_simd();
  effdl::bind_build_info(m);
  effdl::bind_exp_ga_loss(m);
  effdl::bind_pow3_ga_loss(m);
  effdl::bind_linear_ga_loss(m);
  effdl::bind_ga_loss_scale(m);
  effdl::bind_quantize(m);
  effdl::bind_dequantize(m);
  effdl::bind_histogram(m);
  effdl::bind_entropy(m);
  effdl::bind_pack_bits(m);
  effdl::bind_unpack_bits(m);
  effdl::bind_huffman_lengths(m);
  effdl::bind_huffman_encode(m);
  effdl::bind_huffman_decode(m);
  effdl::bind_compress_weights(m);
  effdl::bind_decompress_weights(m);
  effdl::bind_points_cuda(m);
  effdl::bind_redundancy_depth(m);
  effdl::bind_knn(m);
  effdl::bind_mlp_forward(m);
  effdl::bind_mlp_moments(m);
  effdl::bind_layer_moments(m);
  effdl::bind_ridge_solve(m);
  effdl::bind_crc32c(m);
}

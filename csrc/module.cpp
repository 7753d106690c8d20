// Table of contents of the compiled module effdl_fast._C: one line per op.
#include <pybind11/pybind11.h>

#include "common/parallel.h"
#include "common/simd.h"
#include "common/tensor_view.h"

namespace py = pybind11;

namespace effdl {
void bind_build_info(py::module_& m);
void bind_exp_ga_loss(py::module_& m);
void bind_pow3_ga_loss(py::module_& m);
void bind_linear_ga_loss(py::module_& m);
void bind_ga_loss_scale(py::module_& m);
void bind_quantize(py::module_& m);
void bind_dequantize(py::module_& m);
void bind_histogram(py::module_& m);
void bind_entropy(py::module_& m);
void bind_pack_bits(py::module_& m);
void bind_unpack_bits(py::module_& m);
void bind_huffman_lengths(py::module_& m);
void bind_huffman_encode(py::module_& m);
void bind_huffman_decode(py::module_& m);
void bind_compress_weights(py::module_& m);
void bind_decompress_weights(py::module_& m);
void bind_points_cuda(py::module_& m);
void bind_redundancy_depth(py::module_& m);
void bind_knn(py::module_& m);
void bind_crc32c(py::module_& m);
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
  effdl::bind_crc32c(m);
}

"""The compiled ops; every `X` has a plain-PyTorch twin `X_ref` with the same signature beside it."""

from effdl_fast.ops.compress_weights import compress_weights, compress_weights_ref
from effdl_fast.ops.decompress_weights import decompress_weights, decompress_weights_ref
from effdl_fast.ops.dequantize import dequantize, dequantize_ref
from effdl_fast.ops.entropy import entropy, entropy_ref
from effdl_fast.ops.exp_ga_loss import exp_ga_loss, exp_ga_loss_ref
from effdl_fast.ops.histogram import histogram, histogram_ref
from effdl_fast.ops.huffman_decode import huffman_decode, huffman_decode_ref
from effdl_fast.ops.huffman_encode import HuffmanStream, huffman_encode, huffman_encode_ref
from effdl_fast.ops.huffman_lengths import huffman_lengths, huffman_lengths_ref
from effdl_fast.ops.k_redundant import k_redundant, k_redundant_ref
from effdl_fast.ops.knn import Neighbours, knn, knn_ref
from effdl_fast.ops.layer_moments import LayerMoments, layer_moments, layer_moments_ref
from effdl_fast.ops.linear_exp_ga_loss import linear_exp_ga_loss, linear_exp_ga_loss_ref
from effdl_fast.ops.linear_ga_loss import linear_ga_loss, linear_ga_loss_ref
from effdl_fast.ops.mlp_forward import mlp_forward, mlp_forward_ref
from effdl_fast.ops.mlp_moments import mlp_moments, mlp_moments_ref
from effdl_fast.ops.pack_bits import pack_bits, pack_bits_ref
from effdl_fast.ops.pow3_ga_loss import pow3_ga_loss, pow3_ga_loss_ref
from effdl_fast.ops.quantize import Quantized, quantize, quantize_ref
from effdl_fast.ops.redundancy_depth import redundancy_depth, redundancy_depth_ref
from effdl_fast.ops.ridge_solve import RidgeSolution, ridge_solve, ridge_solve_ref
from effdl_fast.ops.unpack_bits import unpack_bits, unpack_bits_ref

__all__ = [
    "HuffmanStream",
    "LayerMoments",
    "Neighbours",
    "Quantized",
    "RidgeSolution",
    "compress_weights",
    "compress_weights_ref",
    "decompress_weights",
    "decompress_weights_ref",
    "dequantize",
    "dequantize_ref",
    "entropy",
    "entropy_ref",
    "exp_ga_loss",
    "exp_ga_loss_ref",
    "histogram",
    "histogram_ref",
    "huffman_decode",
    "huffman_decode_ref",
    "huffman_encode",
    "huffman_encode_ref",
    "huffman_lengths",
    "huffman_lengths_ref",
    "k_redundant",
    "k_redundant_ref",
    "knn",
    "knn_ref",
    "layer_moments",
    "layer_moments_ref",
    "linear_exp_ga_loss",
    "linear_exp_ga_loss_ref",
    "linear_ga_loss",
    "linear_ga_loss_ref",
    "mlp_forward",
    "mlp_forward_ref",
    "mlp_moments",
    "mlp_moments_ref",
    "pack_bits",
    "pack_bits_ref",
    "pow3_ga_loss",
    "pow3_ga_loss_ref",
    "quantize",
    "quantize_ref",
    "redundancy_depth",
    "redundancy_depth_ref",
    "ridge_solve",
    "ridge_solve_ref",
    "unpack_bits",
    "unpack_bits_ref",
]

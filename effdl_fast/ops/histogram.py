"""How often each code occurs (thesis Algorithm 1, EstimateDistribution)."""

import torch
from torch import Tensor

from effdl_fast import _C
from effdl_fast.ops._arguments import integer, register
from effdl_fast.ops._dispatch import DISPATCHER, REFERENCE, route
from effdl_fast.ops._weights import MAX_BINS, integer_codes


def histogram(codes: Tensor, bins: int) -> Tensor:
    """The number of elements of each value below `bins` (thesis Algorithm 1, EstimateDistribution).

    Args:
        codes: uint8 or uint16, any shape and strides.
        bins: 1 to 65536.

    Returns:
        int64 (bins,).

    Raises:
        ValueError: a code >= bins. On CUDA values are not looked at in advance: then every count is -1.
        TypeError, ValueError: wrong dtypes or bins.
    """
    way = route("histogram", "codes", codes)
    if way == REFERENCE:
        return histogram_ref(codes, bins)
    integer_codes("histogram", codes)
    bins = integer("histogram", "bins", bins, 1, MAX_BINS)
    if way == DISPATCHER:
        return torch.ops.effdl_fast.histogram(codes, bins)
    return _run(codes, bins)


def _run(codes: Tensor, bins: int) -> Tensor:
    counts = torch.empty(bins, dtype=torch.int64, device=codes.device)
    _C.histogram(codes.contiguous(), counts)
    return counts


def _fake(codes: Tensor, bins: int) -> Tensor:
    return torch.empty(bins, dtype=torch.int64, device=codes.device)


register("histogram", "(Tensor codes, int bins) -> Tensor", _run, _fake)


def histogram_ref(codes: Tensor, bins: int) -> Tensor:
    """`histogram` in plain PyTorch. A code out of range is an error on every device."""
    integer_codes("histogram", codes)
    bins = integer("histogram", "bins", bins, 1, MAX_BINS)
    flat = codes.reshape(-1).to(torch.int32)
    if flat.numel() and (largest := int(flat.max())) >= bins:
        raise ValueError(f"histogram: codes must be below bins = {bins}, got {largest}")
    return torch.bincount(flat, minlength=bins)

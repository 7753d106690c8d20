"""Weights in few bytes (thesis chapter 3): containers of compressed tensors, and training that exchanges them.

>>> data = ef.compress.compress(model.state_dict())
>>> model.load_state_dict(ef.compress.decompress(data))
"""

from effdl_fast.compress._channel import Traffic
from effdl_fast.compress.api import compress, compress_bound, decompress, load, save
from effdl_fast.compress.average import Deltas, average_parameters
from effdl_fast.compress.convert import from_safetensors, to_safetensors
from effdl_fast.compress.ddp import CompressState, ddp_comm_hook
from effdl_fast.compress.inspection import Inspection, TensorInfo, inspect
from effdl_fast.compress.reader import Reader
from effdl_fast.compress.writer import Writer

__all__ = [
    "CompressState",
    "Deltas",
    "Inspection",
    "Reader",
    "TensorInfo",
    "Traffic",
    "Writer",
    "average_parameters",
    "compress",
    "compress_bound",
    "ddp_comm_hook",
    "decompress",
    "from_safetensors",
    "inspect",
    "load",
    "save",
    "to_safetensors",
]

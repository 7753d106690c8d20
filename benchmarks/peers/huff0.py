"""Huff0 through huff0.c, compiled from the sources that EFFDL_FSE and EFFDL_ZSTD name."""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import torch
from torch import Tensor

BLOCK = 128 << 10
WRAPPER = Path(__file__).with_name("huff0.c")
# By environment variable: name, folder below the checkout, what is compiled of it, macros.
CHECKOUTS = {
    "EFFDL_FSE": ("Huff0", "lib", ["debug.c", "entropy_common.c", "fse_compress.c", "fse_decompress.c", "hist.c",
                                   "huf_compress.c", "huf_decompress.c"], []),
    "EFFDL_ZSTD": ("Huff0 of zstd", "lib", ["common/debug.c", "common/entropy_common.c", "common/error_private.c",
                                            "common/fse_decompress.c", "compress/fse_compress.c", "compress/hist.c",
                                            "compress/huf_compress.c", "decompress/huf_decompress.c",
                                            "decompress/huf_decompress_amd64.S"], ["-DHUFF0_OF_ZSTD"]),
}  # fmt: skip


class Huff0:
    """Compresses and decompresses uint8 codes into buffers of its own, so that no call allocates."""

    def __init__(self, name: str, library: ctypes.CDLL, codes: Tensor) -> None:
        self.name, self.codes, self.library = name, codes, library
        blocks = -(-codes.numel() // BLOCK)
        self.buffer = torch.empty(codes.numel() + 1024 * (blocks + 1), dtype=torch.uint8)
        self.sizes = torch.zeros(blocks, dtype=torch.int64)
        self.back = torch.zeros_like(codes)
        self.bytes = self.compress()

    def compress(self) -> int:
        written = self.library.huff0_compress(_at(self.codes), ctypes.c_int64(self.codes.numel()), _at(self.buffer),
                                              _at(self.sizes))  # fmt: skip
        if written < 0:
            raise RuntimeError(f"{self.name} could not compress")
        return written

    def decompress(self) -> None:
        if self.library.huff0_decompress(_at(self.buffer), _at(self.sizes), _at(self.back),
                                         ctypes.c_int64(self.codes.numel())) != 0:  # fmt: skip
            raise RuntimeError(f"{self.name} could not decompress")


def _at(x: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


def peers(codes: Tensor) -> tuple[list[Huff0], list[str]]:
    """Every Huff0 that can be had for these codes (uint8, on the CPU), and why others cannot."""
    found, missing = [], []
    for variable, (name, *_) in CHECKOUTS.items():
        try:
            library = _library(variable)
        except (OSError, subprocess.CalledProcessError) as error:
            output = getattr(error, "stderr", None) or str(error)
            missing.append(f"{name}: cannot be compiled from {variable}: {output.strip().splitlines()[-1][:120]}")
            continue
        if library is None:
            missing.append(f"{name} skipped: set {variable}")
            continue
        peer = Huff0(name, library, codes)
        peer.decompress()
        if not torch.equal(peer.back, codes):
            raise AssertionError(f"{name} does not give the codes back")
        found.append(peer)
    return found, missing


@functools.cache
def _library(variable: str) -> ctypes.CDLL | None:
    checkout = os.environ.get(variable)
    if not checkout:
        return None
    _, folder, sources, macros = CHECKOUTS[variable]
    lib = Path(checkout) / folder
    if not lib.is_dir():
        raise FileNotFoundError(f"there is no {lib}")
    target = Path(tempfile.mkdtemp(prefix="effdl-peers-"))
    try:
        command = [os.environ.get("CC", "cc"), "-O3", "-march=native", "-shared", "-fPIC", *macros, f"-I{lib}",
                   f"-I{lib / 'common'}", str(WRAPPER), *(str(lib / s) for s in sources), "-o",
                   str(target / "huff0.so")]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True, text=True)
        library = ctypes.CDLL(str(target / "huff0.so"))
    finally:
        shutil.rmtree(target)  # a loaded library stays
    library.huff0_compress.restype = ctypes.c_int64
    return library

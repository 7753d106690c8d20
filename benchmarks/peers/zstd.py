"""zstd at level 1: the package zstandard if it is installed, else the system's libzstd."""

import ctypes
import ctypes.util
import importlib.util

import torch
from torch import Tensor

LEVEL = 1


class Zstd:
    """Compresses and decompresses uint8 codes."""

    name = "zstd -1"

    def __init__(self, codes: Tensor) -> None:
        self.codes = codes

    def compress(self) -> object:
        raise NotImplementedError

    def decompress(self) -> object:
        raise NotImplementedError


class _Package(Zstd):
    def __init__(self, codes: Tensor) -> None:
        import zstandard

        super().__init__(codes)
        self.compressor, self.decompressor = zstandard.ZstdCompressor(level=LEVEL), zstandard.ZstdDecompressor()
        self.view = memoryview(codes.numpy())
        self.data = self.compressor.compress(self.view)
        self.bytes = len(self.data)

    def compress(self) -> object:
        return self.compressor.compress(self.view)

    def decompress(self) -> object:
        return self.decompressor.decompress(self.data)


class _System(Zstd):
    def __init__(self, codes: Tensor, library: ctypes.CDLL) -> None:
        super().__init__(codes)
        size = ctypes.c_size_t
        for function in ("ZSTD_compressBound", "ZSTD_compressCCtx", "ZSTD_decompressDCtx"):
            getattr(library, function).restype = size
        for function in ("ZSTD_createCCtx", "ZSTD_createDCtx"):
            getattr(library, function).restype = ctypes.c_void_p
        self.library = library
        self.compressor = ctypes.c_void_p(library.ZSTD_createCCtx())
        self.decompressor = ctypes.c_void_p(library.ZSTD_createDCtx())
        self.n = size(codes.numel())
        self.data = torch.empty(library.ZSTD_compressBound(self.n), dtype=torch.uint8)
        self.room = size(self.data.numel())
        self.back = torch.empty_like(codes)
        self.bytes = self.compress()

    def compress(self) -> int:
        return self.library.ZSTD_compressCCtx(
            self.compressor, _at(self.data), self.room, _at(self.codes), self.n, LEVEL
        )

    def decompress(self) -> int:
        return self.library.ZSTD_decompressDCtx(self.decompressor, _at(self.back), self.n, _at(self.data),
                                                ctypes.c_size_t(self.bytes))  # fmt: skip

    def __del__(self) -> None:
        self.library.ZSTD_freeCCtx(self.compressor)
        self.library.ZSTD_freeDCtx(self.decompressor)


def _at(x: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.data_ptr())


def peers(codes: Tensor) -> tuple[list[Zstd], list[str]]:
    """zstd for these codes (uint8, on the CPU), or why there is none."""
    if importlib.util.find_spec("zstandard"):
        return [_Package(codes)], []
    found = ctypes.util.find_library("zstd")
    if found is None:
        return [], ["zstd -1 skipped: install the package zstandard"]
    return [_System(codes, ctypes.CDLL(found))], []

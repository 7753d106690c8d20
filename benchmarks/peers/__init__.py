"""Entropy coders of others, to race against: Huff0 and zstd. Neither is part of this project, nor is any of their code.

Huff0 is compiled when it is raced, with the C compiler, from a folder that holds its sources:
  EFFDL_FSE   a checkout of FiniteStateEntropy
  EFFDL_ZSTD  a checkout of zstd, whose copy of Huff0 has gone on since
Both are peers if both are named. zstd itself is the package zstandard, or the system's libzstd.
"""

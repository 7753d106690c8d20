"""Benchmarks of the ops. `effdl bench [op]` runs them; `harness.py` says how times are taken.

In a source tree this is the top-level package `benchmarks`, in a wheel `effdl_fast.benchmarks`: imports inside are
relative.
"""

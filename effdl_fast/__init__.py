"""effdl_fast: the systems of the thesis "Efficient Deep Learning" (CMU-CS-24-147) as compiled ops for PyTorch.

>>> import effdl_fast as ef
>>> loss = ef.ops.exp_ga_loss(logits, target, alpha=0.1, target_value=6.0)
"""

from typing import Any

import torch  # noqa: F401  (the compiled module looks its thread pool and tensor types up in the loaded torch)

from effdl_fast import _C, compress, metrics, nn, ops, solvers
from effdl_fast.errors import CorruptDataError

__version__: str = _C.build_info()["version"]

__all__ = ["CorruptDataError", "__version__", "compress", "metrics", "nn", "ops", "solvers"]


def __getattr__(name: str) -> Any:
    """`effdl_fast.sklearn` is imported when it is asked for, as it needs scikit-learn."""
    if name == "sklearn":
        import importlib

        return importlib.import_module("effdl_fast.sklearn")
    raise AttributeError(f"module 'effdl_fast' has no attribute {name!r}")

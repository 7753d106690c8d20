"""effdl_fast: the systems of the thesis "Efficient Deep Learning" (CMU-CS-24-147) as compiled ops for PyTorch.

>>> import effdl_fast as ef
>>> loss = ef.ops.exp_ga_loss(logits, target, alpha=0.1, target_value=6.0)
"""

import torch  # noqa: F401  (the compiled module looks its thread pool and tensor types up in the loaded torch)

from effdl_fast import _C, compress, nn, ops
from effdl_fast.errors import CorruptDataError

__version__: str = _C.build_info()["version"]

__all__ = ["CorruptDataError", "__version__", "compress", "nn", "ops"]

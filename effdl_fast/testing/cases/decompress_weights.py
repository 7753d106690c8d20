"""Cases of decompress_weights: the records of compress_weights's cases. Every pair of dtypes is in the tests."""

import torch

from effdl_fast.ops import compress_weights_ref
from effdl_fast.testing.cases import Call, Case, compress_weights
from effdl_fast.testing.cases._weights import LAYOUTS


def _case(compress: Case) -> Case:
    def call(device: torch.device, dtype: torch.dtype, generator: torch.Generator) -> Call:
        made = compress.make(torch.device("cpu"), dtype, generator)
        return Call((compress_weights_ref(*made.args, **made.kwargs).to(device),), {}, ())

    return Case(compress.name, call, compress.test, bench=compress.bench, dtypes=(torch.float32,))


# Where the weights lay and how N was chosen does not show in a record.
_ALIKE = (*LAYOUTS, "sampled", "floor")
CASES = [_case(c) for c in compress_weights.CASES if not c.name.startswith(_ALIKE) and not c.name.endswith("_auto")]

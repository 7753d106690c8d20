"""Cases of layer_moments: sizes around blocks, tiles and vectors, every activation, layouts of z and y."""

from dataclasses import dataclass, field
from typing import Any

import torch

from effdl_fast.ops._activations import ACTIVATIONS
from effdl_fast.testing.cases import Call, Case
from effdl_fast.testing.cases._mlp import LAYOUTS


@dataclass(frozen=True)
class Spec:
    name: str
    m: int = 300
    d: int = 5
    w: int = 6
    c: int = 2
    tries: int | None = None  # None: weights of two dimensions; -1: no weights
    activation: str = "tanh"
    layout: str = "contiguous"
    y_layout: str = "contiguous"
    y_dtype: torch.dtype | None = None  # None: z's
    scale: float = 0.5  # of the weights
    z: float | None = None  # in one row
    options: dict[str, Any] = field(default_factory=dict)


def _case(spec: Spec) -> Case:
    def make(device: torch.device, dtype: torch.dtype, g: torch.Generator) -> Call:
        real = torch.float64 if dtype is torch.float64 else torch.float32
        z = LAYOUTS[spec.layout](torch.randn(spec.m, spec.d, generator=g).to(dtype).to(device))
        if spec.z is not None:
            z[spec.m // 2] = spec.z
        y = torch.randn(spec.m, spec.c, generator=g).to(spec.y_dtype or dtype).to(device)
        weights = None
        if spec.tries != -1:
            shape = () if spec.tries is None else (spec.tries,)
            weights = (spec.scale * torch.randn(*shape, spec.d + 1, spec.w, generator=g)).to(real).to(device)
        arguments = (z, weights, LAYOUTS[spec.y_layout](y), spec.activation)
        return Call(arguments, spec.options, ())

    return Case(spec.name, make)


KEEP = {"keep": True}
HALVES_AND_WHOLES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
NO_LAYER = ((0, "contiguous"), (1, "contiguous"), (12, "by_columns"), (64, "every_other"))
SPECS = [
    *[Spec(f"{a}_12_12", 700, 12, 12, 1, None, a, options=KEEP) for a in ACTIVATIONS],
    *[Spec(f"{a}_large", 200, 3, 5, 1, 2, a, scale=9.0) for a in ("celu", "tanh", "sigmoid")],
    *[Spec(f"rows_{m}", m, options=KEEP) for m in (0, 1, 2, 15, 16, 17, 63, 64, 65, 127, 128, 129, 511, 512, 513)],
    *[Spec(f"width_{w}", 140, 4, w, w % 4, None, "relu", options=KEEP) for w in range(1, 18)],
    *[Spec(f"inputs_{d}", 140, d, 5, 1, 3, "identity") for d in (0, 1, 2, 3, 63, 64)],
    *[Spec(f"targets_{c}", 140, 3, 5, c, None, "relu") for c in (0, 1, 3, 4, 5, 63, 64)],
    *[Spec(f"tries_{t}", 600, 4, 3, 1, t) for t in (0, 1, 2, 7, 8, 9, 50)],
    Spec("one_try_kept", tries=1, options=KEEP),
    Spec("largest", 300, 64, 64, 64, 9, "celu"),
    *[Spec(f"z_{layout}", 333, 7, 5, 2, None, "celu", layout, options=KEEP) for layout in LAYOUTS],
    *[Spec(f"y_{layout}", 333, 7, 5, 3, None, "relu", y_layout=layout) for layout in LAYOUTS],
    *[Spec(f"y_{str(dtype)[6:]}", y_dtype=dtype) for dtype in HALVES_AND_WHOLES],
    *[Spec(f"no_layer_{d}_{layout}", 333, d, 0, 3, -1, "identity", layout) for d, layout in NO_LAYER],
    *[Spec(f"nan_{a}", 300, 3, 4, 1, None, a, z=torch.nan, options=KEEP) for a in ACTIVATIONS],
    *[Spec(f"inf_{a}", 300, 3, 4, 1, None, a, z=torch.inf, options=KEEP) for a in ACTIVATIONS],
    Spec("threads", 6000, 12, 12, 2, 3),
    Spec("threads_one_try", 20_000, 5, 7, 1, None, "celu", options=KEEP),
]
CASES = [_case(spec) for spec in SPECS]

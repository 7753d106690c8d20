"""Networks fitted in closed form, and what is noted of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from effdl_fast.solvers import ELM, LayerRecord, PlatonicMLP

DTYPES = {"float32": torch.float32, "float64": torch.float64}
BLOCK = 5000  # samples that are evaluated at once


def fit_layers(x: Tensor, y: Tensor, **parameters: Any) -> tuple[PlatonicMLP | None, list[LayerRecord]]:
    """A PlatonicMLP, and the records of its representations; None where a representation was not finite.

    The records then end with the last finite one.
    """
    records: list[LayerRecord] = []
    model = PlatonicMLP(**parameters)
    try:
        model.fit(x, y, progress=records.append)
    except ValueError as error:
        if "NaN or infinity" not in str(error) or not records:
            raise
        return None, records
    return model, records


def distances(records: Sequence[LayerRecord]) -> list[float]:
    """The least squares distance of each representation, the input's first; six digits."""
    return [float(f"{record.lsd:.6g}") for record in records]


def classified(model: ELM | PlatonicMLP, x: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy in percent, and the mean squared error over samples and outputs, targets one-hot (or -1 and 1)."""
    right, error = 0, 0.0
    targets = model.targets_
    for part, y in zip(x.split(BLOCK), labels.split(BLOCK), strict=True):
        output = model.decision_function(part).reshape(len(part), -1)
        wanted = targets.encode(y, output.dtype, output.device)
        right += int((targets.best(output) == targets.best(wanted)).sum())
        error += float((output - wanted).double().square().sum())
    return {"accuracy": 100.0 * right / len(x), "mse": error / len(x) / targets.columns}


def spread(values: Sequence[float]) -> str:
    """ "mean ± standard deviation"."""
    return f"{statistics.fmean(values):.2f} ± {statistics.pstdev(values):.2f}"


def thinned(values: Sequence[float], limit: int = 200) -> tuple[list[int], list[float]]:
    """At most about `limit` places, evenly spaced from the first to the last, and the values there."""
    step = max(1, len(values) // limit)
    places = sorted({*range(0, len(values), step), len(values) - 1})
    return places, [values[i] for i in places]


def listed(setting: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """Those of a setting that are parameters of the solver; the dtype by its name."""
    chosen = {key: setting[key] for key in keys if key in setting}
    if "dtype" in chosen:
        chosen["dtype"] = DTYPES[chosen["dtype"]]
    return chosen

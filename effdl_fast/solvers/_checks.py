"""Checks of parameters."""

from __future__ import annotations

from typing import Any

import torch

from effdl_fast.ops._arguments import integer, number
from effdl_fast.solvers._growth import Grow
from effdl_fast.solvers._penalty import CHOICES
from effdl_fast.solvers._targets import TASKS


def one_of(op: str, name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{op}: {name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def at_least(op: str, name: str, value: Any, least: float) -> float:
    value = number(op, name, value)
    if value < least:
        raise ValueError(f"{op}: {name} must be at least {least:g}, got {value}")
    return value


def widths(op: str, hidden: Any) -> list[int | Grow]:
    """Of one hidden layer or several."""
    if isinstance(hidden, str | bytes):
        raise TypeError(f"{op}: hidden must be a width or a sequence of widths, got {hidden!r}")
    several = list(hidden) if hasattr(hidden, "__iter__") else [hidden]
    return [w.check(op) if isinstance(w, Grow) else integer(op, "hidden", w, 1, 1 << 20) for w in several]


def common(op: str, model: Any) -> dict[str, Any]:
    """Of a Plan, what all networks have."""
    one_of(op, "solver", model.solver, ("ridge", "lstsq", "pinv"))
    one_of(op, "task", model.task, TASKS)
    l2 = model.l2
    if isinstance(l2, str):
        one_of(op, "l2", l2, CHOICES)
    else:
        l2 = at_least(op, "l2", l2, 0.0)
    if model.dtype not in (None, torch.float32, torch.float64):
        raise ValueError(f"{op}: dtype must be torch.float32, torch.float64 or None, got {model.dtype}")
    atol = None if model.atol is None else at_least(op, "atol", model.atol, 0.0)
    return {"solver": model.solver, "l2": l2, "atol": atol, "accuracy": bool(model.track_accuracy)}


def several_passes(model: Any) -> bool:
    """Whether parameters of any network ask for more than one pass a layer."""
    hidden = model.hidden if isinstance(model.hidden, list | tuple) else [model.hidden]
    return model.l2 == "loo" or model.solver != "ridge" or any(isinstance(width, Grow) for width in hidden)

"""The steps of `effdl fit`: what it refuses, what it fits, what it writes and says."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effdl_fast.data import Dataset
from effdl_fast.errors import UserError
from effdl_fast.fit.standardisation import Standardisation
from effdl_fast.reproduce import store
from effdl_fast.reproduce.environment import environment
from effdl_fast.reproduce.report import Table
from effdl_fast.solvers import ELM, LayerRecord, PlatonicMLP

# What is used where the user says nothing: that of thesis Table 7.3; and of --elm the same where it applies.
DEFAULTS = {"hidden": "784,392", "first": "sorted_pca", "projection": "pca", "l2": "0.03", "ema": "0.2"}
ELM_DEFAULTS = {"hidden": "784", "l2": "0.03"}
NOT_OF_ELM = ("projection", "first", "alpha", "beta", "tries", "ema", "mixing")
NOT_OF_RANDOM, NOT_OF_PCA = ("ema", "mixing"), ("tries",)  # options that say nothing for the other projection
OF_HIDDEN = ("activation", "projection", "first", "alpha", "beta", "tries", "ema", "mixing")
NUMBERS = ("alpha", "beta", "mixing", "ema", "l2")
DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Fitted:
    """seconds: of fitting; of each layer those until its output's least squares problem was solved."""

    data: Dataset
    model: PlatonicMLP | ELM
    standardised: bool
    train: float
    test: float
    seconds: float
    layer_seconds: list[float] = field(default_factory=list)


def make_model(options: Mapping[str, Any], *, elm: bool) -> PlatonicMLP | ELM:
    """The estimator, its parameters checked. `options`: texts and numbers by parameter, None where nothing was given.

    UserError for what cannot be, and for an option that would change nothing.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if elm and (strange := [name for name in NOT_OF_ELM if name in given]):
        raise UserError(f"--{strange[0]}: an ELM has random weights and no such option")
    defaults = dict(ELM_DEFAULTS if elm else DEFAULTS)
    projection = given.get("projection", DEFAULTS["projection"])
    if projection == "random":
        defaults.pop("ema", None)
    useless = () if elm else NOT_OF_RANDOM if projection == "random" else NOT_OF_PCA
    for name in useless:
        if given.get(name) not in (None, "none"):
            raise UserError(f"--{name}: --projection {projection} has no use for it")
    parameters = {**defaults, **given}
    parameters["hidden"] = _widths(parameters["hidden"])
    if not parameters["hidden"] and (strange := [name for name in OF_HIDDEN if name in given]):
        raise UserError(f"--{strange[0]}: --hidden none has no use for it")
    if "l2" in given and given.get("solver") in ("lstsq", "pinv"):
        raise UserError(f"--l2: --solver {given['solver']} has no use for it")
    for name in NUMBERS:
        if name in parameters:
            parameters[name] = _number(name, parameters[name])
    if parameters.get("first") == "none":
        parameters["first"] = None
    if "dtype" in parameters:
        if parameters["dtype"] not in DTYPES:
            raise UserError(f"--dtype: expected {' or '.join(DTYPES)}, got {parameters['dtype']!r}")
        parameters["dtype"] = DTYPES[parameters["dtype"]]
    model = (ELM if elm else PlatonicMLP)(**parameters, task="classification", track_accuracy=True)
    try:
        model.check_parameters()
    except (TypeError, ValueError) as error:
        raise UserError(str(error)) from error
    return model


def _widths(text: str) -> tuple[int, ...]:
    """(784, 392) of "784,392", () of "none"."""
    if text.strip() == "none":
        return ()
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError as error:
        raise UserError(f"--hidden: expected widths such as 784,392, or none, got {text!r}") from error


def _number(name: str, value: Any) -> Any:
    """A number; None of "none" for ema; gcv and loo, of l2, stay."""
    if (name, value) == ("ema", "none"):
        return None
    if name == "l2" and value in ("gcv", "loo"):
        return value
    try:
        number = float(value)
    except ValueError as error:
        more = {"ema": " or none", "l2": ", gcv or loo"}.get(name, "")
        raise UserError(f"--{name}: expected a number{more}, got {value!r}") from error
    if not math.isfinite(number):
        raise UserError(f"--{name}: expected a finite number, got {value}")
    return number


def layers(model: PlatonicMLP | ELM) -> int:
    """Entries that the history will have: the input and the hidden layers; of an ELM only the last of these."""
    return 1 if isinstance(model, ELM) else 1 + len(model.get_params()["hidden"])


def advance(bar: Any) -> Callable[[LayerRecord], object]:
    """A progress function that moves a tqdm bar and shows how the last layer did beside it."""

    def move(record: LayerRecord) -> None:
        right = "" if record.accuracy is None else f", {record.accuracy:.2%}"
        bar.set_postfix_str(f"width {record.width}, LSD {record.lsd:.4f}{right}", refresh=False)
        bar.update(1)

    return move


def require(out: Path, force: bool) -> None:
    """UserError where the model cannot be written, before the work."""
    if out.exists() and not out.is_file():
        raise UserError(f"--out: {out} is no file")
    if out.exists() and not force:
        raise UserError(f"--out: {out} exists; --force replaces it")
    store.require_folder(out.parent)


def run(
    data: Dataset,
    model: PlatonicMLP | ELM,
    device: torch.device,
    *,
    standardise: bool,
    progress: Callable[[LayerRecord], object] = lambda record: None,
) -> Fitted:
    """Fits the network; in the end it takes samples as `data` has them, standardised or not while it was fitted."""
    data = data.to(device)
    x = data.x_train.flatten(1)
    begin = last = time.perf_counter()
    seconds: list[float] = []

    def note(record: LayerRecord) -> None:
        nonlocal last
        now = time.perf_counter()
        seconds.append(now - last)
        last = now
        progress(record)

    change = Standardisation.of(x) if standardise else None
    try:
        model.fit(x if change is None else change.apply(x), data.y_train, progress=note)
    except ValueError as error:
        raise UserError(str(error)) from error
    total = time.perf_counter() - begin
    if change is not None:
        change.fold(model)
    parts = (data.x_train, data.y_train), (data.x_test, data.y_test)
    train, test = (accuracy(model, samples, labels) for samples, labels in parts)
    return Fitted(data, model, standardise, train, test, total, seconds)


def accuracy(model: PlatonicMLP | ELM, x: Tensor, y: Tensor) -> float:
    """The share of samples that get their label; one that the network does not know is never right."""
    return float((model.predict(x) == y).double().mean())


def save(fitted: Fitted, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        fitted.model.save(out)
    except OSError as error:
        raise UserError(f"--out: {out} cannot be written ({os.strerror(error.errno or 0)})") from error


def table(fitted: Fitted) -> Table:
    """A row for each representation: how well the best linear map from there classifies the training samples."""
    rows: list[list[str | float | None]] = [
        [name, record.width, f"{record.lsd:.5f}", f"{record.condition:.2g}",
         None if record.accuracy is None else f"{100 * record.accuracy:.2f}", f"{record.l2:.3g}", f"{seconds:.2f}"]
        for name, record, seconds in zip(_names(fitted), fitted.model.history_, fitted.layer_seconds, strict=True)
    ]  # fmt: skip
    return Table(["layer", "width", "LSD", "condition", "train %", "l2", "seconds"], rows)


def _names(fitted: Fitted) -> list[str]:
    names = ["input", *(f"hidden {i}" for i in range(1, 1 + len(fitted.model.layers_)))]
    return names[len(names) - len(fitted.model.history_) :]


def describe(data: Dataset) -> str:
    """Before the work."""
    return (f"{data.name}: {len(data.x_train):,} training and {len(data.x_test):,} test samples, {data.features:,} "
            f"features, {len(data.classes)} classes")  # fmt: skip


def summary(fitted: Fitted, out: Path) -> str:
    size = sum(w.numel() for w in [*fitted.model.layers_.weights, fitted.model.output_])
    name = type(fitted.model).__name__
    folded = "; the standardisation is part of its first layer" if fitted.standardised else ""
    return (
        f"accuracy: {fitted.train:.2%} of the training samples, {fitted.test:.2%} of the test samples\n"
        f"{name} of {size:,} parameters fitted in {fitted.seconds:.2f} s\n"
        f"model: {out}, for samples as effdl_fast.data gives them{folded}"
    )


def facts(fitted: Fitted, out: Path) -> dict[str, Any]:
    """What --json prints; null stands for a condition that is infinite or not a number."""
    model = fitted.model
    history = [
        {**record._asdict(), "condition": record.condition if math.isfinite(record.condition) else None, "seconds": s}
        for record, s in zip(model.history_, fitted.layer_seconds, strict=True)
    ]
    parameters = {k: str(v)[6:] if isinstance(v, torch.dtype) else v for k, v in model.get_params().items()}
    return {
        "data": fitted.data.describe(),
        "model": type(model).__name__,
        "parameters": {name: value for name, value in parameters.items() if name != "device"},
        "standardised": fitted.standardised,
        "history": history,
        "train_accuracy": fitted.train,
        "test_accuracy": fitted.test,
        "seconds": fitted.seconds,
        "file": str(out),
        "environment": environment(fitted.data.x_train.device),
    }


def to_json(told: dict[str, Any]) -> str:
    return json.dumps(told, indent=2, allow_nan=False)

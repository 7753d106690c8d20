"""Networks as files: safetensors with the weights as tensors and all else as JSON in the metadata.

The metadata has four texts: `format` and `version`; `network`, a JSON object (class, activation, parameters, targets,
features, history); and `checksum`, a CRC32C in hexadecimal of that text and of name, dtype, shape and bytes of every
tensor in the order weights.0, weights.1, ..., output. So a file that was altered anywhere is refused.
"""

from __future__ import annotations

import dataclasses
import json
import math
import operator
import os
import re
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from effdl_fast import _C, files
from effdl_fast.errors import CorruptDataError
from effdl_fast.solvers._activation import NAMES, Activation, resolve
from effdl_fast.solvers._growth import Grow
from effdl_fast.solvers._layers import Layers
from effdl_fast.solvers._record import LayerRecord
from effdl_fast.solvers._targets import Targets

FORMAT, VERSION = "effdl_fast.solvers", "1"
OUTPUT = "output"
DTYPES = {"float32": torch.float32, "float64": torch.float64}
SPECIAL = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}  # JSON has no such numbers
LABELS = {"b": bool, "i": int, "u": int, "f": float, "U": str, "O": str}  # by kind of dtype, what each label is
LABEL_DTYPES = re.compile(r"U|\|[bui]1|\|O|[<>](f[248]|[ui][248])")
NOT_KEPT = ("activation", "device")  # of the parameters: the one is kept apart, the other is the machine's


def save(model: Any, path: str | os.PathLike[str], activation: bool) -> None:
    """Of `Estimator.save`; the model is fitted."""
    tensors = {_name(i): w for i, w in enumerate(model.layers_.weights)} | {OUTPUT: model.output_}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"save: {name} holds NaN or infinity")
    names = getattr(model, "feature_names_in_", None)
    network = json.dumps({
        "class": type(model).__name__,
        "activation": _activation_name(model.layers_.activation, "the network's activation") if activation else None,
        "parameters": {name: _plain(name, value) for name, value in model.get_params().items() if name not in NOT_KEPT},
        "refit_activation": _activation_name(resolve(model.activation), "activation") if activation else None,
        "features": None if names is None else list(names),
        "targets": {"columns": model.targets_.columns, "flat": model.targets_.flat,
                    "classes": _labels(model.targets_.classes)},
        "history": [{name: _number(value) for name, value in record._asdict().items()} for record in model.history_],
    }, allow_nan=False)  # fmt: skip
    metadata = {"format": FORMAT, "version": VERSION, "network": network, "checksum": _checksum(network, tensors)}
    files.write_bytes(path, safetensors.torch.save(tensors, metadata))


def load(cls: type, path: str | os.PathLike[str], activation: Any, device: Any) -> Any:
    """Of `Estimator.load`."""
    given = None if activation is None else resolve(activation)
    if device is not None:
        torch.device(device)
    metadata, tensors = _read(os.fspath(path))
    found = metadata.get("format"), metadata.get("version")
    if found[0] != FORMAT:
        raise CorruptDataError(f"{path}: no network of {FORMAT}: its format is {found[0]!r}")
    if found[1] != VERSION:
        raise CorruptDataError(f"{path}: version {found[1]!r} of the format is not known, {VERSION} is")
    text = metadata.get("network", "")
    if metadata.get("checksum") != _checksum(text, tensors):
        raise CorruptDataError(f"{path}: the checksum differs; the file was altered")
    try:
        network = json.loads(text)
        name = _is(network["class"], str, "class")
        if name == cls.__name__:
            own, refit = _activations(network, given)
            return _rebuild(cls, network, tensors, own, refit if given is None else activation, device)
    except CorruptDataError as error:
        raise CorruptDataError(f"{path}: {error}") from error
    except _Choice as error:
        raise ValueError(f"{path}: {error}") from None
    except (LookupError, TypeError, ValueError, ArithmeticError, RecursionError, AttributeError) as error:
        raise CorruptDataError(f"{path}: no valid network ({type(error).__name__}: {error})") from error
    raise ValueError(f"{path} holds a network of class {name}; load it by {name}.load, not {cls.__name__}.load")


class _Choice(Exception):
    """What the caller gave does not go with the file."""


def _name(layer: int) -> str:
    return f"weights.{layer}"


def _checksum(network: str, tensors: dict[str, Tensor]) -> str:
    value = _C.crc32c(network.encode())
    for name, tensor in tensors.items():
        value = _C.crc32c(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = _C.crc32c(tensor.view(-1).view(torch.uint8), value)
    return f"{value:08x}"


# ---- to JSON ----


def _activation_name(activation: Activation, what: str) -> str:
    if activation.name is None:
        raise ValueError(f"save: {what} is a module or function of your own, which a file cannot hold; save with "
                         f"activation=False and give it to load, or use one of {', '.join(NAMES)}")  # fmt: skip
    return activation.name


def _plain(name: str, value: Any) -> Any:
    """A parameter as JSON has it."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, torch.dtype):
        return str(value)[6:]
    if isinstance(value, Integral):
        return operator.index(value)
    if isinstance(value, Real):
        return float(value)
    if isinstance(value, Grow):
        return {item: _plain(name, field) for item, field in dataclasses.asdict(value).items()}
    if isinstance(value, Sequence | np.ndarray):
        return [_plain(name, item) for item in value]
    raise ValueError(f"save: the parameter {name} cannot be kept in a file, it is a {type(value).__name__}")


def _number(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def _labels(classes: np.ndarray | None) -> dict[str, Any] | None:
    if classes is None:
        return None
    values = classes.tolist()
    kind = LABELS.get(classes.dtype.kind)
    if kind is None or not all(isinstance(value, kind) for value in values):
        raise ValueError(f"save: class labels must be whole numbers, booleans or strings, got dtype {classes.dtype}")
    return {"dtype": "U" if kind is str and classes.dtype.kind == "U" else classes.dtype.newbyteorder("=").str,
            "values": values}  # fmt: skip


# ---- from a file ----


def _read(path: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata, and tensors of their own memory in the order of the checksum."""
    with open(path, "rb"):  # OSError as of any file
        pass
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata, names = file.metadata() or {}, set(file.keys())
            layers = len(names) - 1
            if names != {OUTPUT, *(_name(i) for i in range(layers))}:
                raise CorruptDataError(f"{path}: no network: its tensors must be weights.0, weights.1, ... and output")
            order = [*(_name(i) for i in range(layers)), OUTPUT]
            return metadata, {name: file.get_tensor(name).clone() for name in order}
    except safetensors.SafetensorError as error:
        raise CorruptDataError(f"{path}: no valid .safetensors file ({error})") from error


def _is(value: Any, kind: Any, what: str) -> Any:
    """The value, if it is of this type; a bool is no int."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise CorruptDataError(f"{what} is {value!r}")
    return value


def _activations(network: dict[str, Any], given: Activation | None) -> tuple[Activation, str | None]:
    """That of the network, and the parameter, which may have been changed since the fit."""
    names = network["activation"], network["refit_activation"]
    if names == (None, None):
        if given is None:
            raise _Choice("it was saved without its activation; give the one that the network was fitted with")
        return given, None
    if not all(name in NAMES for name in names):
        raise CorruptDataError(f"activation {names} is not known")
    if given is not None:
        raise _Choice(f"the file says the activation, {names[0]}; only for one saved without it can it be given")
    return resolve(names[0]), names[1]


def _rebuild(cls: type, network: dict[str, Any], tensors: dict[str, Tensor], activation: Activation, refit: Any,
             device: Any) -> Any:  # fmt: skip
    dtype = _check_tensors(tensors)
    parameters = dict(_is(network["parameters"], dict, "parameters"))
    if parameters.get("dtype") is not None:
        parameters["dtype"] = DTYPES[parameters["dtype"]]
    parameters["hidden"] = _hidden(parameters["hidden"])
    model = cls(**parameters, activation=refit, device=device)
    model.check_parameters()
    targets = _targets(network["targets"])
    *weights, output = tensors.values()
    if output.shape[1] != targets.columns:
        raise CorruptDataError(f"output has {output.shape[1]} columns, the targets have {targets.columns}")
    history = [_record(record) for record in _is(network["history"], list, "history")]
    features = network["features"]
    inputs = next(iter(tensors.values())).shape[0] - 1
    if features is not None:
        if [type(name) for name in _is(features, list, "features")] != [str] * inputs:
            raise CorruptDataError(f"the names of features are not {inputs} texts")
        model._take_names(np.array(features, dtype=object))
    weights = [w.to(device, dtype) for w in weights]
    model._finish(Layers(activation, weights), output.to(device, dtype), targets, history)
    return model


def _hidden(found: Any) -> Any:
    """A width, or several in a tuple; each a number or what Grow was made of."""
    if isinstance(found, list):
        return tuple(map(_hidden, found))
    return Grow(**found) if isinstance(found, dict) else found


def _check_tensors(tensors: dict[str, Tensor]) -> torch.dtype:
    """Matrices of one floating dtype, finite, of shapes that follow on each other."""
    dtype, before = next(iter(tensors.values())).dtype, None
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES.values() or tensor.dtype is not dtype:
            raise CorruptDataError(f"{name} must be {', '.join(DTYPES)}, like the other tensors, got {tensor.dtype}")
        if tensor.dim() != 2 or tensor.shape[0] < 2 or tensor.shape[1] < 1:
            raise CorruptDataError(f"{name} must be a matrix of 2 rows at least, got shape {tuple(tensor.shape)}")
        if before is not None and tensor.shape[0] != before + 1:
            raise CorruptDataError(f"{name} has {tensor.shape[0]} rows, but {before} columns and the biases come in")
        if not bool(torch.isfinite(tensor).all()):
            raise CorruptDataError(f"{name} holds NaN or infinity")
        before = tensor.shape[1]
    return dtype


def _targets(found: Any) -> Targets:
    columns, flat, labels = _is(found["columns"], int, "columns"), _is(found["flat"], bool, "flat"), found["classes"]
    if labels is None:
        return Targets(None, columns, flat)
    dtype, values = _is(labels["dtype"], str, "the dtype of labels"), _is(labels["values"], list, "labels")
    if not LABEL_DTYPES.fullmatch(dtype) or not all(type(value) is LABELS[np.dtype(dtype).kind] for value in values):
        raise CorruptDataError(f"class labels of dtype {dtype} are {values!r:.200}")
    classes = np.array(values, dtype=dtype)
    if classes.tolist() != values or sorted(set(values)) != values or not values:
        raise CorruptDataError("class labels must be different and in ascending order, and fit their dtype")
    if columns != (1 if len(values) <= 2 else len(values)):
        raise CorruptDataError(f"{columns} columns for {len(values)} classes")
    return Targets(classes, columns, flat)


def _record(found: Any) -> LayerRecord:
    fields = {name: SPECIAL.get(value, value) if name != "route" else value for name, value in found.items()}
    record = LayerRecord(**fields)
    for name, value in fields.items():
        if name == "accuracy" and value is None:
            continue
        _is(value, {"width": int, "route": str}.get(name, float), f"history: {name}")
    return record

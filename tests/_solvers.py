"""What the tests of files of networks share."""

from __future__ import annotations

import json
import math

import numpy as np
import safetensors
import safetensors.torch

from effdl_fast.solvers import PlatonicMLP, _store


def blobs(m=120, d=4, classes=3, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, m)
    return (3 * rng.normal(size=(classes, d))[y] + rng.normal(size=(m, d))).astype(dtype), y


def parts(path):
    """Metadata, network and tensors of a file."""
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    return metadata, json.loads(metadata["network"]), tensors


def forge(path, change, *, checksum=True):
    """A file that `change(metadata, network, tensors)` has altered, with a checksum that is right again."""
    metadata, network, tensors = parts(path)
    change(metadata, network, tensors)
    text = metadata["network"] = json.dumps(network)
    if checksum:
        order = sorted(tensors, key=lambda name: int(name[8:]) if name.startswith("weights.") else math.inf)
        metadata["checksum"] = _store._checksum(text, {name: tensors[name] for name in order})
    safetensors.torch.save_file(tensors, path, metadata)


def save(folder):
    """The path of a file of a network of two layers."""
    x, y = blobs()
    path = folder / "m.safetensors"
    PlatonicMLP((5, 3), seed=1).fit(x, y).save(path)
    return path

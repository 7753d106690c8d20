"""Files of networks that are forged or damaged: refused, whatever is wrong with them."""

from __future__ import annotations

import math
import random
import re

import pytest

np = pytest.importorskip("numpy")

import safetensors.torch
import torch

from effdl_fast.errors import CorruptDataError
from effdl_fast.solvers import PlatonicMLP, _store

from ._solvers import blobs, forge, parts, save


@pytest.fixture
def saved(tmp_path):
    return save(tmp_path)


def _set(where, value):
    """A change of a file: network["a"]["b"] = value for "a.b"; metadata for "!a"."""

    def change(metadata, network, tensors):
        *path, last = where.removeprefix("!").split(".")
        target = metadata if where.startswith("!") else network
        for name in path:
            target = target[int(name) if isinstance(target, list) else name]
        if value is KeyError:
            del target[last]
        else:
            target[last] = value

    return change


def _tensor(name, make):
    def change(metadata, network, tensors):
        tensors[name] = make(tensors[name])

    return change


def _without(name):
    def change(metadata, network, tensors):
        del tensors[name]

    return change


def _nan(tensor):
    tensor[0, 0] = math.nan
    return tensor


FORGED = {
    "version": (_set("!version", "2"), "version '2' of the format is not known, 1 is"),
    "no version": (_set("!version", KeyError), "version None"),
    "format": (_set("!format", "other"), "its format is 'other'"),
    "no class": (_set("class", KeyError), "no valid network"),
    "class": (_set("class", 5), "class is 5"),
    "activation": (_set("activation", "rely"), "activation .*rely.* is not known"),
    "activation type": (_set("activation", ["relu"]), "is not known"),
    "half an activation": (_set("refit_activation", None), "is not known"),
    "parameter": (_set("parameters.hiden", 3), "hiden"),
    "value": (_set("parameters.l2", -1), "l2 must be at least 0"),
    "huge": (_set("parameters.l2", 10**400), "no valid network"),
    "widths": (_set("parameters.hidden", [5, 0]), "hidden must be"),
    "nested widths": (_set("parameters.hidden", [[5]]), "hidden"),
    "growth": (_set("parameters.hidden", [{"start": 0}]), "start of Grow"),
    "growth's field": (_set("parameters.hidden", [{"stop": 0}]), "no valid network"),
    "no widths": (_set("parameters.hidden", KeyError), "no valid network"),
    "dtype": (_set("parameters.dtype", "float8"), "no valid network"),
    "task": (_set("parameters.task", "sorting"), "task must be one of"),
    "parameters": (_set("parameters", [1]), "parameters is"),
    "columns": (_set("targets.columns", 4), "4 columns for 3 classes"),
    "columns type": (_set("targets.columns", True), "columns is True"),
    "values' columns": (_set("targets", {"columns": 2, "flat": False, "classes": None}),
                        "output has 3 columns, the targets have 2"),
    "flat": (_set("targets.flat", 1), "flat is 1"),
    "order of classes": (_set("targets.classes.values", [0, 2, 1]), "ascending order"),
    "equal classes": (_set("targets.classes.values", [0, 1, 1]), "ascending order"),
    "classes out of range": (_set("targets.classes", {"dtype": "|i1", "values": [0, 1, 300]}), "m.safetensors: "),
    "classes of other types": (_set("targets.classes.values", [0, 1, "2"]), "class labels of dtype"),
    "dtype of classes": (_set("targets.classes.dtype", "|S5"), "class labels of dtype"),
    "structure": (_set("targets.classes.dtype", "i4,i4"), "class labels of dtype"),
    "long texts": (_set("targets.classes", {"dtype": "<U99999999", "values": list("abc")}), "class labels of dtype"),
    "no classes": (_set("targets.classes.values", []), "ascending"),
    "history": (_set("history", {}), "history is"),
    "record": (_set("history.0.width", 2.5), "history: width is 2.5"),
    "record's field": (_set("history.0.depth", 1), "no valid network"),
    "record's number": (_set("history.1.lsd", "many"), "history: lsd is 'many'"),
    "record's route": (_set("history.1.route", "inf2"), None),
    "features": (_set("features", ["a", "b"]), "names of features are not 4 texts"),
    "features' type": (_set("features", ["a", "b", "c", 1]), "names of features are not 4 texts"),
    "no output": (_without("output"), "its tensors must be"),
    "no first layer": (_without("weights.0"), "its tensors must be"),
    "no second layer": (_without("weights.1"), "output has 4 rows, but 5 columns and the biases come in"),
    "shapes": (_tensor("weights.1", lambda t: t[:-1].clone()), "weights.1 has 5 rows, but 5 columns"),
    "dimensions": (_tensor("weights.1", lambda t: t.flatten()), "weights.1 must be a matrix"),
    "empty": (_tensor("output", lambda t: t[:, :0].clone()), "output must be a matrix"),
    "mixed dtypes": (_tensor("weights.1", lambda t: t.float()), "weights.1 must be .* like the other tensors"),
    "half": (_tensor("weights.0", lambda t: t.half()), "weights.0 must be float32, float64"),
    "whole numbers": (_tensor("weights.0", lambda t: t.long()), "weights.0 must be float32, float64"),
    "NaN": (_tensor("weights.1", _nan), "weights.1 holds NaN or infinity"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), FORGED.values(), ids=FORGED)
def test_forged_files(saved, change, message):
    """Files whose checksum is right and whose content is not."""
    forge(saved, lambda *_: None)
    PlatonicMLP.load(saved)
    forge(saved, change)
    if message is None:  # a route is any text
        PlatonicMLP.load(saved)
        return
    with pytest.raises(CorruptDataError, match=message):
        PlatonicMLP.load(saved)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"class": "PlatonicMLP"}', "1" * 5000])
def test_json_that_is_none(saved, text):
    metadata, _, tensors = parts(saved)
    order = {name: tensors[name] for name in ("weights.0", "weights.1", "output")}
    metadata |= {"network": text, "checksum": _store._checksum(text, order)}
    safetensors.torch.save_file(tensors, saved, metadata)
    with pytest.raises(CorruptDataError, match="no valid network"):
        PlatonicMLP.load(saved)


def test_a_wrong_checksum(saved):
    forge(saved, _set("history.0.lsd", 0.0), checksum=False)
    with pytest.raises(CorruptDataError, match="the checksum differs; the file was altered"):
        PlatonicMLP.load(saved)


# ---- damage ----


def same(path, expected):
    """Whether a damaged file is taken, and then it must be the same network; anything but a refusal is an error."""
    try:
        model = PlatonicMLP.load(path)
    except CorruptDataError:
        return False
    assert model.get_params() == expected.get_params() and repr(model.history_) == repr(expected.history_)
    assert model.classes_.tolist() == expected.classes_.tolist()
    for a, b in zip(
        [*model.layers_.weights, model.output_], [*expected.layers_.weights, expected.output_], strict=True
    ):
        assert torch.equal(a, b)
    return True


def test_every_prefix_is_refused(saved):
    content = saved.read_bytes()
    expected = PlatonicMLP.load(saved)
    for size in range(len(content)):
        saved.write_bytes(content[:size])
        assert not same(saved, expected), size
    saved.write_bytes(content + b"\0")
    assert not same(saved, expected)
    saved.write_bytes(content)
    assert same(saved, expected)


def test_every_byte_matters(saved):
    """Each byte is replaced by one or two others; only blanks between parts of the header may change."""
    forge(saved, _set("history", []))
    content = bytearray(saved.read_bytes())
    expected = PlatonicMLP.load(saved)
    generator = random.Random(0)
    taken = []
    for place, byte in enumerate(content):
        for other in {byte ^ (1 << generator.randrange(8)), generator.choice([0x20, 0x30, 0xFF])} - {byte}:
            content[place] = other
            saved.write_bytes(content)
            if same(saved, expected):
                taken.append((place, bytes([byte]), bytes([other])))
        content[place] = byte
    assert all(byte in b" \t\r\n" and other in b" \t\r\n" for _, byte, other in taken), taken


def test_parts_that_are_lost_or_exchanged(saved):
    content = saved.read_bytes()
    expected = PlatonicMLP.load(saved)
    generator = random.Random(1)
    for _ in range(150):
        a, b = sorted(generator.sample(range(len(content)), 2))
        for damaged in (content[:a] + content[b:], content[:a] + bytes(b - a) + content[b:],
                        content[:a] + content[b:] + content[a:b]):  # fmt: skip
            saved.write_bytes(damaged)
            assert damaged == content or not same(saved, expected)


VALUES = (None, True, 0, -1, 2.5, math.inf, "", "nan", "U", "<i8", "relu", [], {}, [[1]], {"start": 3}, 10**30)


def _places(node, path=()):
    """Ways to every value in nested lists and dictionaries."""
    yield path
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from _places(value, (*path, key))


@pytest.mark.parametrize("seed", range(4))
def test_forged_at_random(saved, seed):
    """Values exchanged at random, the checksum right again: a network or one of the two errors, nothing else."""
    generator, content, refused = random.Random(seed), saved.read_bytes(), 0
    for _ in range(100):

        def change(metadata, network, tensors):
            *path, last = generator.choice([place for place in _places(network) if place])
            for key in path:
                network = network[key]
            if generator.random() < 0.2:
                del network[last]
            else:
                network[last] = generator.choice(VALUES)

        saved.write_bytes(content)
        forge(saved, change)
        try:
            PlatonicMLP.load(saved).predict(blobs()[0])
        except CorruptDataError:
            refused += 1
        except ValueError as error:
            assert re.search("holds a network of class|saved without its activation", str(error))
    assert refused > 50

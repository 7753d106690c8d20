"""Networks as files: what comes back, what is refused, and that no damaged file is taken."""

from __future__ import annotations

import json
import math
import os
import random
import re
import stat

import pytest
import torch

np = pytest.importorskip("numpy")

import safetensors
import safetensors.torch

from effdl_fast.errors import CorruptDataError
from effdl_fast.solvers import ELM, Grow, LayerRecord, PlatonicMLP, _store

MODELS = [pytest.param(cls, id=cls.__name__) for cls in (PlatonicMLP, ELM)]


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


@pytest.fixture
def saved(tmp_path):
    x, y = blobs()
    model = PlatonicMLP((5, 3), seed=1).fit(x, y)
    model.save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


# ---- what comes back ----

LABELS = {
    "int": np.array([-3, 7, 1 << 60]),
    "int8": np.array([-3, 7, 100], np.int8),
    "uint64": np.array([1, 2, (1 << 64) - 1], np.uint64),
    "float32": np.array([-1.0, 0.0, 2.0], np.float32),
    "text": np.array(["", "bee", "é\n\0x"]),
    "objects": np.array(["a", "bee", "é"], object),
    "bool": np.array([False, True]),
    "one": np.array([4]),
}


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("cls", MODELS)
def test_classes(cls, labels, tmp_path):
    x, y = blobs(classes=len(labels))
    model = cls((6, 4), task="classification", track_accuracy=True).fit(x, labels[y])
    model.save(tmp_path / "m")
    other = cls.load(tmp_path / "m")
    assert type(other) is cls and other.get_params() == model.get_params()
    assert other.classes_.tolist() == labels.tolist() and other.classes_.dtype.kind == labels.dtype.kind
    assert np.array_equal(other.decision_function(x), model.decision_function(x))
    assert other.predict(x).tolist() == model.predict(x).tolist()
    assert other.history_ == model.history_ and all(type(record) is LayerRecord for record in other.history_)
    assert other.score(x, labels[y]) == model.score(x, labels[y]), "the parameter task is kept"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("flat", [True, False])
def test_values(flat, dtype, tmp_path):
    x, _ = blobs()
    y = x[:, 0] if flat else x[:, :2]
    model = PlatonicMLP([7], task="regression", dtype=dtype, l2="gcv", beta=np.float32(3), solver="ridge").fit(x, y)
    model.save(str(tmp_path / "m"))
    other = PlatonicMLP.load(str(tmp_path / "m"))
    assert other.predict(x).shape == y.shape and np.array_equal(other.predict(x), model.predict(x))
    assert other.dtype is dtype and other.output_.dtype is dtype and other.l2 == "gcv" and other.beta == 3.0
    assert other.hidden == (7,) and not hasattr(other, "classes_")
    again = other.fit(x, y).predict(x)
    assert np.allclose(again, model.predict(x)), "it can be fitted again, by the same parameters"


def test_all_that_a_network_is(tmp_path):
    """A width as a number, several tries, names of features, infinite conditions, and modules of both."""
    pandas = pytest.importorskip("pandas")
    x, y = blobs()
    frame = pandas.DataFrame(np.hstack([x, x]), columns=list("abcdefgh"))
    model = PlatonicMLP(6, tries=4, activation=torch.nn.Tanh(), solver="lstsq").fit(frame, y)
    model.save(tmp_path / "m")
    other = PlatonicMLP.load(tmp_path / "m")
    assert other.hidden == 6 and other.activation == "tanh" and other.feature_names_in_.tolist() == list("abcdefgh")
    assert repr(other.history_) == repr(model.history_), "NaN too"
    z = torch.tensor(np.hstack([x, x]))
    assert torch.equal(other.to_module()(z), model.to_module()(z))
    with pytest.raises(ValueError, match="in the same order"):
        other.predict(frame[list("bacdefgh")])


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, 1.5])
def test_numbers_that_json_lacks(saved, value):
    model = PlatonicMLP.load(saved)
    model.history_[0] = model.history_[0]._replace(condition=value)
    model.save(saved)
    json.loads(parts(saved)[0]["network"], parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert repr(PlatonicMLP.load(saved).history_) == repr(model.history_)


@pytest.mark.parametrize(
    "hidden", [(), 7, (4, Grow(2, 1.5, 16)), Grow(2, most=8)], ids=["none", "one", "both", "grown"]
)
def test_hidden(hidden, tmp_path):
    x, y = blobs()
    model = PlatonicMLP(hidden).fit(x, y)
    model.save(tmp_path / "m")
    other = PlatonicMLP.load(tmp_path / "m")
    assert other.hidden == hidden and np.array_equal(other.decision_function(x), model.decision_function(x))
    assert other.history_ == model.history_


def test_what_partial_fit_has_so_far(tmp_path):
    x, y = blobs()
    model = PlatonicMLP((5, 4)).partial_fit(x, y).next_layer().partial_fit(x, y)
    model.save(tmp_path / "m")
    other = PlatonicMLP.load(tmp_path / "m")
    assert len(other.layers_) == 1 and np.array_equal(other.predict(x), model.predict(x))
    with pytest.raises(ValueError, match="call partial_fit first"):
        other.next_layer()


def test_the_file(saved):
    metadata, network, tensors = parts(saved)
    assert set(metadata) == {"format", "version", "network", "checksum"} and metadata["version"] == "1"
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "weights.0": (5, 5), "weights.1": (6, 3), "output": (4, 3)}  # fmt: skip
    assert (
        network["class"] == "PlatonicMLP" and network["activation"] == "relu" and "device" not in network["parameters"]
    )


def test_parameters_changed_since_the_fit(tmp_path):
    """The network is what was fitted, the parameters what is to be fitted next."""
    x, y = blobs()
    model = PlatonicMLP((5,), activation="tanh").fit(x, y)
    expected = model.predict(x)
    model.set_params(activation="relu", hidden=(9, 9)).save(tmp_path / "m")
    other = PlatonicMLP.load(tmp_path / "m")
    assert np.array_equal(other.predict(x), expected) and other.hidden == (9, 9) and other.activation == "relu"


def test_devices(saved):
    model = PlatonicMLP.load(saved, device="cpu")
    assert model.device == "cpu" and model.device_.type == "cpu" and PlatonicMLP.load(saved).device is None
    with pytest.raises(RuntimeError, match="nowhere"):
        PlatonicMLP.load(saved, device="nowhere")


# ---- activations of one's own ----


class Square(torch.nn.Module):
    def forward(self, x):
        return x.square()


@pytest.mark.parametrize(
    "activation", [Square(), torch.sin, torch.nn.CELU(alpha=2.0)], ids=["module", "function", "celu"]
)
def test_activations_without_a_name(activation, tmp_path):
    x, y = blobs()
    model = PlatonicMLP((6,), activation=activation).fit(x, y)
    with pytest.raises(ValueError, match=r"^save: the network's activation is a module or function of your own.*"
                                         r"activation=False.*relu"):  # fmt: skip
        model.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())
    model.save(tmp_path / "m", activation=False)
    with pytest.raises(ValueError, match="saved without its activation; give the one") as caught:
        PlatonicMLP.load(tmp_path / "m")
    assert not isinstance(caught.value, CorruptDataError)
    other = PlatonicMLP.load(tmp_path / "m", activation=activation)
    assert np.array_equal(other.predict(x), model.predict(x)) and other.activation is activation


def test_an_activation_is_given_only_where_there_is_none(saved):
    with pytest.raises(ValueError, match="the file says the activation, relu"):
        PlatonicMLP.load(saved, activation="relu")
    with pytest.raises(ValueError, match="activation must be one of"):
        PlatonicMLP.load(saved, activation="rely")
    x, y = blobs()
    model = PlatonicMLP((3,)).fit(x, y).set_params(activation=Square())
    with pytest.raises(ValueError, match="save: activation is a module or function of your own"):
        model.save(saved)


# ---- writing ----


def test_a_file_is_whole_or_not_there(saved, monkeypatch):
    before = saved.read_bytes()
    x, y = blobs(seed=5)
    model = PlatonicMLP((9,)).fit(x, y)
    os.chmod(saved, 0o640)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.save(saved)
    assert saved.read_bytes() == before and [p.name for p in saved.parent.iterdir()] == [saved.name]
    monkeypatch.undo()
    model.save(saved)
    assert PlatonicMLP.load(saved).hidden == (9,) and stat.S_IMODE(saved.stat().st_mode) == 0o640
    with pytest.raises(FileNotFoundError):
        model.save(saved.parent / "absent" / "m")


def test_what_cannot_be_kept(saved):
    model = PlatonicMLP.load(saved)
    before = saved.read_bytes()
    model.output_[1, 1] = math.nan
    with pytest.raises(ValueError, match="save: output holds NaN or infinity"):
        model.save(saved)
    x, y = blobs()
    model = PlatonicMLP((3,), task="classification").fit(x, np.array([b"a", b"b", b"c"])[y])
    with pytest.raises(ValueError, match=r"class labels must be whole numbers, booleans or strings, got dtype \|S1"):
        model.save(saved)
    with pytest.raises(ValueError, match="not fitted"):
        PlatonicMLP((3,)).save(saved)
    assert saved.read_bytes() == before


def test_a_loaded_network_does_not_depend_on_the_file(saved):
    x, _ = blobs()
    model = PlatonicMLP.load(saved)
    expected = model.predict(x)
    saved.write_bytes(bytes(saved.stat().st_size))
    assert np.array_equal(model.predict(x), expected)
    saved.unlink()
    assert np.array_equal(model.predict(x), expected)


# ---- reading what is no such file ----


def test_the_class_must_be_the_same(saved):
    with pytest.raises(
        ValueError, match=r"holds a network of class PlatonicMLP; load it by PlatonicMLP.load, not ELM.load"
    ) as e:
        ELM.load(saved)
    assert not isinstance(e.value, CorruptDataError)


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        PlatonicMLP.load(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        PlatonicMLP.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"PK\x03\x04" + b"x" * 200, b"\x80\x04." * 9,
                                     b"\xff" * 8 + b"{}", b"\x02" + b"\0" * 7 + b"{}"])  # fmt: skip
def test_other_files(tmp_path, content):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(CorruptDataError, match="m: no "):
        PlatonicMLP.load(tmp_path / "m")


def test_other_safetensors_files(tmp_path):
    path = tmp_path / "m"
    for tensors in ({"output": torch.ones(3, 2)}, {"weights.0": torch.ones(3, 2), "output": torch.ones(3, 2)}):
        safetensors.torch.save_file(tensors, path)
        with pytest.raises(CorruptDataError, match="its format is None"):
            PlatonicMLP.load(path)
    for tensors in ({"weights.1": torch.ones(3, 2), "output": torch.ones(3, 2)}, {"weights.0": torch.ones(2, 2)}):
        safetensors.torch.save_file(tensors, path)
        with pytest.raises(CorruptDataError, match=r"its tensors must be weights.0, weights.1, ... and output"):
            PlatonicMLP.load(path)


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

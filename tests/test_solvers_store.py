"""Networks as files: what comes back, what cannot be kept, what is no such file."""

from __future__ import annotations

import json
import math
import os
import stat

import pytest
import torch

np = pytest.importorskip("numpy")

import safetensors
import safetensors.torch

from effdl_fast.errors import CorruptDataError
from effdl_fast.solvers import ELM, Grow, LayerRecord, PlatonicMLP

from ._solvers import blobs, parts, save

MODELS = [pytest.param(cls, id=cls.__name__) for cls in (PlatonicMLP, ELM)]


@pytest.fixture
def saved(tmp_path):
    return save(tmp_path)


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

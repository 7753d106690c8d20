"""PlatonicMLP and ELM as estimators: kinds of data, names, errors, copies; without scikit-learn."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings

import pytest
import torch

np = pytest.importorskip("numpy")

import effdl_fast as ef
from effdl_fast.solvers import ELM, PlatonicMLP

TASKS = ("classification", "regression", "auto")
MODELS = [pytest.param(cls, id=cls.__name__) for cls in (PlatonicMLP, ELM)]


def blobs(m=300, d=6, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, m)
    return 3 * rng.normal(size=(classes, d))[y] + rng.normal(size=(m, d)), y


def wave(m=200, d=4, seed=0):
    x = np.random.default_rng(seed).normal(size=(m, d))
    return x, np.sin(x[:, 0]) + x[:, 1]


def test_without_scikit_learn():
    """Where it cannot be imported: all works, errors and warnings are their built-in bases."""
    program = """
import builtins, sys, warnings
real = builtins.__import__
def without(name, *more):
    if name.split(".")[0] == "sklearn":
        raise ImportError(name)
    return real(name, *more)
builtins.__import__ = without
import torch
from effdl_fast.solvers import ELM, PlatonicMLP
x = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
y = (x[:, 0] > 0).long()
for cls in (PlatonicMLP, ELM):
    model = cls((8,), task="classification")
    try:
        model.predict(x)
    except ValueError as error:
        assert type(error) is ValueError and "not fitted" in str(error)
    else:
        raise SystemExit("no error")
    assert model.fit(x, y).score(x, y) > 0.8
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.fit(x.numpy(), y.numpy()[:, None])
    assert [w.category for w in seen] == [UserWarning], seen
assert not [name for name in sys.modules if name.split(".")[0] == "sklearn"]
print("done")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


def test_importing_does_not_import_scikit_learn():
    program = "import sys, effdl_fast.solvers; print(sorted({'sklearn', 'pandas', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout == "[]\n"


# ---- parameters ----


@pytest.mark.parametrize("cls", MODELS)
def test_parameters(cls):
    model = cls((4,), l2=0.5)
    assert model.get_params()["l2"] == 0.5 and model.set_params(l2=2.0, activation="tanh") is model
    assert (model.l2, model.activation) == (2.0, "tanh")
    with pytest.raises(
        ValueError, match=rf"^Invalid parameter 'width' for estimator {cls.__name__}\(activation='tanh'"
    ):
        model.set_params(l2=3.0, width=5)
    assert model.l2 == 2.0, "nothing was changed"
    assert repr(cls((4, 5), l2=0.25)) == f"{cls.__name__}(hidden=(4, 5), l2=0.25)"
    wrong = cls((0,), l2=-1)  # the constructor checks nothing, as clone needs it
    with pytest.raises(ValueError, match="l2 must be at least 0"):
        wrong.fit(*blobs())


def test_no_global_state_is_changed():
    x, y = blobs()
    torch.manual_seed(11)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = PlatonicMLP((8,), seed=None).fit(x, y).decision_function(x)
    second = PlatonicMLP((8,), seed=None).fit(x, y).decision_function(x)
    assert torch.initial_seed() == 11 and torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()
    assert not np.array_equal(first, second), "without a seed every fit draws anew"
    third = PlatonicMLP((8,), seed=4).fit(x, y).decision_function(x)
    assert np.array_equal(third, PlatonicMLP((8,), seed=4).fit(x, y).decision_function(x))


# ---- data in, data out ----


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8", ">f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"])
def test_dtypes_of_samples(dtype):
    x, y = blobs()
    x = np.abs(x).astype(dtype)
    model = PlatonicMLP((8,)).fit(x, y)
    narrow = dtype.strip(">") in ("f2", "f4", "u1")
    assert model.output_.dtype is (torch.float32 if narrow else torch.float64)
    predicted = model.predict(x)
    for other in ("f4", "f8", "i8"):
        assert model.decision_function(x.astype(other)).dtype == (np.float32 if narrow else np.float64)
    assert np.array_equal(predicted, model.predict(x.astype("f8"))), "any dtype that holds the same values"


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64, torch.bool]
)
def test_tensors_give_tensors(dtype):
    x, y = blobs()
    x, y = torch.from_numpy(x).abs().to(dtype), torch.from_numpy(y)
    model = PlatonicMLP((8,)).fit(x.requires_grad_() if dtype is torch.float32 else x, y)
    for found in (model.predict(x), model.decision_function(x), model.transform(x)):
        assert isinstance(found, torch.Tensor) and not found.requires_grad
    assert model.predict(x).dtype is torch.int64
    assert isinstance(model.predict(x.detach().float().numpy()), np.ndarray)
    with pytest.raises(TypeError, match="Sparse data was passed for X"):
        model.predict(torch.eye(6).to_sparse())
    values = PlatonicMLP((8,), task="regression").fit(x, x[:, :2].double())
    assert values.predict(x).shape == (300, 2) and isinstance(values.predict(x), torch.Tensor)


LABELS = {
    "int": (np.array([-3, 7, 100]), "i"),
    "uint8": (np.array([0, 1, 255], np.uint8), "u"),
    "float": (np.array([-1.0, 0.0, 2.0]), "f"),
    "text": (np.array(["a", "bee", "é"]), "U"),
    "objects": (np.array(["a", "bee", "é"], object), "O"),
    "numbers as objects": (np.array([3, 5, 9], object), "i"),
}


@pytest.mark.parametrize(("names", "kind"), LABELS.values(), ids=LABELS)
def test_labels_come_back_as_they_are(names, kind):
    x, y = blobs()
    model = PlatonicMLP((16,), task="classification").fit(x, names[y])
    found = model.predict(x)
    assert found.dtype.kind == kind and model.classes_.tolist() == names.tolist()
    assert (found == names[y]).mean() > 0.9 and model.score(x, names[y]) == (found == names[y]).mean()
    given = model.predict(torch.from_numpy(x))
    assert isinstance(given, torch.Tensor if kind in "iuf" else np.ndarray)


def test_two_classes_and_one():
    x, y = blobs(classes=2)
    for labels in (y.astype(bool), np.array(["no", "yes"])[y]):
        model = PlatonicMLP((8,)).fit(x, labels)
        scores = model.decision_function(x)
        assert scores.shape == (300,)
        assert np.array_equal(model.predict(x), model.classes_[(scores > 0).astype(int)])
    only = PlatonicMLP((8,)).fit(x, np.full(300, 5))
    assert set(only.predict(x)) == {5}


@pytest.mark.parametrize(("y", "message"), [
    (["a", 1, "b"], "strings or numbers, got both in rows 0 and 1"),
    (["a", None, "b"], "y contains NaN or None, in row 1"),
    (["a", "b", float("nan")], "y contains NaN or None, in row 2"),
    ([1, 2, None], "y contains NaN or None, in row 2"),
])  # fmt: skip
def test_labels_that_are_refused(y, message):
    labels = np.empty(3, object)
    labels[:] = y
    with pytest.raises(ValueError, match=message):
        PlatonicMLP((2,), task="classification").fit(np.eye(3), labels)


def test_auto_tells_values_from_labels():
    x, y = wave()
    for values in (y, y.astype(object), y.astype(np.float32), torch.from_numpy(y), list(y)):
        model = PlatonicMLP((8,)).fit(x, values)
        assert not hasattr(model, "classes_") and model.predict(x).shape == (200,)
    model.fit(x, (y > 0).astype(int))
    assert model.classes_.tolist() == [0, 1]
    assert not hasattr(model.fit(x, y), "classes_"), "a refit forgets them"
    both = PlatonicMLP((8,)).fit(x, np.stack([y, -y], 1))
    assert both.predict(x).shape == (200, 2) and np.allclose(both.predict(x)[:, 0], -both.predict(x)[:, 1])


def test_bfloat16_labels_and_complex_targets():
    x, y = blobs()
    model = PlatonicMLP((8,), task="classification").fit(x, torch.from_numpy(y).bfloat16())
    assert model.classes_.tolist() == [0, 1, 2]
    for wrong in (y + 1j, torch.from_numpy(y + 1j)):
        for task in ("classification", "regression"):
            with pytest.raises((ValueError, TypeError), match="Complex data not supported"):
                PlatonicMLP((8,), task=task).fit(x, wrong)


def test_memory_maps_that_cannot_be_written(tmp_path):
    x, y = blobs()
    for name, array in (("x", x), ("y", y)):
        np.save(tmp_path / f"{name}.npy", array)
    mx, my = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch warns of tensors over memory that cannot be written
        model = PlatonicMLP((8,)).fit(mx, my)
        assert np.array_equal(model.decision_function(mx), PlatonicMLP((8,)).fit(x, y).decision_function(x))
    assert np.array_equal(np.load(tmp_path / "x.npy"), x)


@pytest.mark.parametrize("layout", ["columns first", "reversed", "every second", "list"])
def test_layouts(layout):
    x, y = blobs()
    same = {
        "columns first": np.asfortranarray(x),
        "reversed": x[::-1][::-1],
        "every second": np.repeat(x, 2, 1)[:, ::2],
        "list": x.tolist(),
    }[layout]
    expected = PlatonicMLP((8,)).fit(x, y).decision_function(x)
    assert np.allclose(PlatonicMLP((8,)).fit(same, y).decision_function(same), expected, rtol=1e-9)


@pytest.mark.parametrize(("x", "error", "message"), [
    (np.array([["a", "b"]]), ValueError, "X must hold numbers, got dtype <U1"),
    (np.array([["2020-01-01"]], "M8[D]"), ValueError, "X must hold numbers"),
    (np.ones((3, 2)) * 1j, ValueError, "Complex data not supported"),
    (np.array([[1.0, np.nan]] * 3), ValueError, "NaN or infinity, in row 0"),
    (np.ones(3), ValueError, "Expected 2D array, got 1D array instead"),
    (np.ones((0, 2)), ValueError, "0 sample"),
    (np.ones((3, 0)), ValueError, "0 feature"),
])  # fmt: skip
def test_samples_that_are_refused(x, error, message):
    with pytest.raises(error, match=message):
        PlatonicMLP((2,)).fit(x, np.arange(len(x)))


def test_sparse_matrices_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    for make in (sparse.csr_matrix, sparse.csc_array, sparse.coo_array):
        with pytest.raises(TypeError, match="Sparse data was passed for X, but dense data is required"):
            PlatonicMLP((2,)).fit(make(np.eye(4)), np.arange(4))


# ---- names of features ----


def test_names_of_features():
    pandas = pytest.importorskip("pandas")
    x, y = wave(d=3)
    frame = pandas.DataFrame(x, columns=["a", "b", "c"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = PlatonicMLP((4,), task="regression").fit(frame, y)
        model.predict(frame), model.score(frame, y)
        batch = PlatonicMLP((4,), task="regression").partial_fit(frame, y).partial_fit(frame, y)
    assert model.feature_names_in_.tolist() == batch.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.warns(UserWarning, match="X does not have valid feature names, but PlatonicMLP was fitted with"):
        model.predict(x)
    with pytest.raises(ValueError, match="in the same order as they were in fit"):
        model.predict(frame[["b", "a", "c"]])
    with pytest.raises(
        ValueError, match="unseen at fit time:\n- d\nFeature names seen at fit time, yet now missing:\n- c"
    ):
        model.predict(frame.rename(columns={"c": "d"}))
    with pytest.raises(TypeError, match="only supported if all input features have string names"):
        model.fit(frame.rename(columns={"c": 5}), y)
    model.fit(frame.to_numpy(), y)
    assert not hasattr(model, "feature_names_in_"), "a refit forgets them"
    with pytest.warns(UserWarning, match="X has feature names, but PlatonicMLP was fitted without"):
        model.predict(frame)
    with pytest.raises(ValueError, match="length equal to number of features"):
        model.get_feature_names_out(["a"])
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y)), batch_size=50
    )
    assert not hasattr(model.fit(frame, y).fit(loader), "feature_names_in_")


def test_data_frames_of_several_dtypes():
    pandas = pytest.importorskip("pandas")
    x, y = blobs(d=3)
    frame = pandas.DataFrame({"a": x[:, 0], "b": (10 * x[:, 1]).astype(int), "c": x[:, 2] > 0})
    model = PlatonicMLP((8,)).fit(frame, pandas.Series(y).map({0: "x", 1: "y", 2: "z"}))
    assert model.classes_.tolist() == ["x", "y", "z"] and model.predict(frame).shape == (300,)
    frame["b"] = frame["b"].astype("Int64")
    assert model.score(frame, np.array(["x", "y", "z"])[y]) > 0.6
    frame.loc[3, "b"] = pandas.NA
    with pytest.raises((TypeError, ValueError)):
        model.predict(frame)


# ---- copies ----


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))],
                         ids=["deepcopy", "pickle"])  # fmt: skip
@pytest.mark.parametrize("cls", MODELS)
def test_copies(cls, copied):
    x, y = blobs()
    model = cls((8, 4), track_accuracy=True).fit(x, y)
    other = copied(model)
    assert np.array_equal(other.decision_function(x), model.decision_function(x))
    assert other.history_ == model.history_ and other.get_params() == model.get_params()
    other.output_.zero_()
    assert model.output_.abs().sum() > 0
    half = cls((8, 4)).partial_fit(x[:150], y[:150], classes=[0, 1, 2])
    other = copied(half)
    for one in (half, other):
        one.partial_fit(x[150:], y[150:]).next_layer().partial_fit(x, y)
    assert np.array_equal(other.decision_function(x), half.decision_function(x)), "with what partial_fit has gathered"


def test_modules_have_the_fitted_activation():
    x, y = blobs()
    model = PlatonicMLP((8,), activation="tanh", dtype=torch.float64).fit(x, y)
    expected = model.decision_function(x)
    model.set_params(activation="relu")
    assert np.allclose(model.decision_function(x), expected)
    assert torch.allclose(model.to_module()(torch.from_numpy(x)), torch.from_numpy(expected))


def test_decision_function_by_task():
    x, y = wave()
    model = PlatonicMLP((8,), task="regression").fit(x, y)
    assert not hasattr(model, "decision_function")
    with pytest.raises(AttributeError, match="task='regression' has no decision_function; use predict"):
        model.decision_function(x)
    auto = PlatonicMLP((8,)).fit(x, y)
    assert np.array_equal(auto.decision_function(x), auto.predict(x))


def test_they_are_exported():
    assert ef.solvers.PlatonicMLP is PlatonicMLP and ef.solvers.ELM is ELM

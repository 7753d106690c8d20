"""Data sets: what is accepted, how it is normalised, and what each kind of damage is called."""

from __future__ import annotations

import gzip
import struct
import zipfile
from pathlib import Path

import pytest
import torch

np = pytest.importorskip("numpy")

from effdl_fast import data


def arrays(shape=(28, 28), train=20, test=10, classes=5, dtype=np.uint8):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (train, *shape)).astype(dtype),
        "y_train": np.arange(train) % classes,
        "x_test": rng.integers(0, 256, (test, *shape)).astype(dtype),
        "y_test": np.arange(test) % classes,
    }


def save(folder, content):
    path = folder / "set.npz"
    np.savez(path, **content)
    return str(path)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((28, 28), (1, 28, 28)), ((32, 32, 3), (3, 32, 32)), ((3, 32, 32), (3, 32, 32)), ((17,), (17,))],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_npz_layouts(tmp_path, shape, expected, dtype):
    loaded = data.load(save(tmp_path, arrays(shape, dtype=dtype)))
    assert loaded.sample_shape == expected
    assert (loaded.x_train.dtype, loaded.y_train.dtype) == (torch.float32, torch.int64)
    assert len(loaded.x_train) == 20 and len(loaded.x_test) == 10 and len(loaded.classes) == 5


def test_channel_last_is_transposed_not_reshaped(tmp_path):
    content = arrays((6, 7, 3))
    loaded = data.load(save(tmp_path, content))
    x = torch.from_numpy(content["x_train"].astype(np.float32)).permute(0, 3, 1, 2)
    mean, std = x.mean((0, 2, 3), keepdim=True), x.std((0, 2, 3), keepdim=True, correction=0)
    torch.testing.assert_close(loaded.x_train, (x - mean) / std, atol=1e-5, rtol=1e-5)


def test_normalised_with_training_statistics(tmp_path):
    loaded = data.load(save(tmp_path, arrays((8, 8, 3), train=200)))
    torch.testing.assert_close(loaded.x_train.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(loaded.x_train.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert loaded.x_test.mean().abs() > 1e-4, "the test part must not be normalised by itself"


def test_constant_channel_stays_finite(tmp_path):
    content = arrays((8, 8))
    content["x_train"][:], content["x_test"][:] = 7, 7
    assert bool((data.load(save(tmp_path, content)).x_train == 0).all())


def test_column_labels_and_class_names(tmp_path):
    content = arrays()
    content["y_train"] = content["y_train"][:, None].astype(np.uint8)
    loaded = data.load(save(tmp_path, {**content, "classes": np.array(list("abcdef"))}))
    assert loaded.classes == tuple("abcdef") and loaded.y_train.shape == (20,)


def test_npz_of_other_sources_do_not_unpickle(tmp_path):
    content = arrays()
    content["x_train"] = np.array([{"a": 1}] * 20, dtype=object)
    with pytest.raises(ValueError, match="not a readable"):
        data.load(save(tmp_path, content))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("y_test"), "y_test missing; found x_train"),
        (lambda c: c.update(y_train=c["y_train"][:-1]), "x_train has 20 samples but y_train has 19 labels"),
        (lambda c: c.update(y_test=c["y_test"] + 3), "y_test holds labels 3 to 7, expected 0 to 4"),
        (lambda c: c.update(y_train=c["y_train"] - 1), "y_train holds labels -1"),
        (lambda c: c.update(y_train=c["y_train"] * 1.0), "y_train must hold integers, got dtype float64"),
        (lambda c: c.update(y_train=np.zeros((20, 2), int)), r"y_train must have shape \(N,\) or \(N, 1\)"),
        (lambda c: c.update(x_test=c["x_test"][:, :-1]), "x_test samples"),
        (lambda c: c.update(x_train=np.zeros(20)), "x_train must be"),
        (lambda c: c.update(x_train=np.zeros((20, 9, 9, 9)), x_test=np.zeros((10, 9, 9, 9))), "no channel axis"),
        (lambda c: c.update(x_train=np.full((20, 28, 28), np.nan)), "x_train holds NaN"),
        (lambda c: c.update(x_train=np.full((20, 28, 28), "a")), "x_train must hold numbers"),
        (lambda c: c.update(x_train=np.zeros((20, 0)), x_test=np.zeros((10, 0))), "x_train has samples without values"),
        (lambda c: c.update(x_train=np.zeros((20, 28, 0))), "x_train has samples without values"),
        (lambda c: c.update(x_train=np.full((20, 28, 28), 1e300)), "x_train holds NaN or infinite"),
        (
            lambda c: c.update(y_train=c["y_train"] + 1),
            "y_train holds labels 1 to 5 and no 0; number the classes from 0",
        ),
        (lambda c: c.update(y_train=c["y_train"] * 10_000), "labels up to 40000 but only 5 different ones"),
        (
            lambda c: c.update(y_train=np.full(20, 2**64 - 1, np.uint64)),
            "label 18446744073709551615, which is no int64",
        ),
        (lambda c: c.update(x_test=c["x_test"][:0], y_test=c["y_test"][:0]), "x_test is empty|y_test is empty"),
    ],
)
def test_bad_npz(tmp_path, change, message):
    content = arrays()
    change(content)
    with pytest.raises(ValueError, match=message):
        data.load(save(tmp_path, content))


def test_plausible_labels_are_taken(tmp_path):
    content = arrays()
    booleans = {**content, "y_train": content["y_train"] > 2, "y_test": content["y_test"] > 2}
    loaded = data.load(save(tmp_path, booleans))
    assert loaded.classes == ("0", "1") and loaded.y_train.dtype == torch.int64 and loaded.y_train.max() == 1
    sparse = {**content, "y_train": content["y_train"] * 20}  # 81 classes, 5 of which occur
    assert len(data.load(save(tmp_path, sparse)).classes) == 81
    from_one = {**content, "y_train": content["y_train"] + 1, "y_test": content["y_test"] + 1}
    assert len(data.load(save(tmp_path, {**from_one, "classes": np.array(list("-abcde"))})).classes) == 6


def test_only_arrays_are_taken(tmp_path):
    content = arrays()
    with pytest.raises(data.UserError, match="t: x_train must be a NumPy array, got list"):
        data.make_dataset("t", *({**content, "x_train": content["x_train"].tolist()}[key] for key in data.NPZ_KEYS))
    with pytest.raises(data.UserError, match="t: y_train must be a NumPy array, got NoneType"):
        data.make_dataset("t", *({**content, "y_train": None}[key] for key in data.NPZ_KEYS))
    path = Path(save(tmp_path, {key: value for key, value in content.items() if key != "y_test"}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("y_test", "no array")
    with pytest.raises(data.UserError, match=r"its member y_test is no \.npy array"):
        data.load(str(path))


def test_describe_depends_on_pixels(tmp_path):
    content = arrays()
    one = data.load(save(tmp_path, content)).describe()
    content["x_test"][3, 2, 1] += 1
    assert data.load(save(tmp_path, content)).describe() != one


def test_damaged_and_missing_files(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(FileNotFoundError, match=r"there is no file .*x\.npz"):
        data.load(str(path))
    for content in (b"", b"PK\x03\x04 nothing", b"plain text"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.npz: not a readable"):
            data.load(str(path))
    whole = Path(save(tmp_path, arrays())).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"x\.npz"):
        data.load(str(path))


@pytest.mark.parametrize(
    "spec", ["", "cifar", "torchvision:NoSuchSet", "torchvision:_x", "torchvision:VisionDataset", "x.npy"]
)
def test_unknown_spec(spec):
    if spec.startswith("torchvision:"):
        pytest.importorskip("torchvision")
    with pytest.raises(ValueError, match="data: "):
        data.load(spec)


def test_torchvision_is_not_downloaded_unasked(tmp_path):
    pytest.importorskip("torchvision")
    with pytest.raises(FileNotFoundError, match="--download"):
        data.load("torchvision:MNIST", root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_digits_split_is_fixed_and_stratified():
    pytest.importorskip("sklearn")
    one, two = data.load("digits"), data.load("digits")
    assert torch.equal(one.x_test, two.x_test) and one.sample_shape == (1, 8, 8)
    assert (len(one.x_train), len(one.x_test)) == (1437, 360)
    counts = torch.bincount(one.y_test)
    assert counts.min() >= 34 and counts.max() <= 38


def write_idx(path, array, magic=b"\x00\x00\x08"):
    header = magic + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def test_fashion_mnist_from_idx_files(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "FASHION_MNIST_DIRS", (tmp_path / "absent",))
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        data.load("fashion-mnist")
    content = arrays()
    for part, key in (("train", "train"), ("t10k", "test")):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", content[f"x_{key}"])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", content[f"y_{key}"].astype(np.uint8))
    monkeypatch.setattr(data, "FASHION_MNIST_DIRS", (tmp_path,))
    loaded = data.load("fashion-mnist")
    assert loaded.sample_shape == (1, 28, 28) and loaded.classes[9] == "Ankle boot"
    np.testing.assert_array_equal(loaded.y_train.numpy(), content["y_train"])


def test_damaged_idx(tmp_path):
    path = tmp_path / "a.gz"
    array = np.zeros((3, 4), np.uint8)
    write_idx(path, array)
    assert data.read_idx(path).shape == (3, 4)
    write_idx(path, array, magic=b"\x00\x00\x0d")
    with pytest.raises(ValueError, match="not an IDX file"):
        data.read_idx(path)
    path.write_bytes(gzip.compress(b"\x00\x00\x08\x02" + struct.pack(">2I", 3, 5) + array.tobytes()))
    with pytest.raises(ValueError, match="12 bytes of data"):
        data.read_idx(path)
    path.write_bytes(gzip.compress(b"\x00\x00\x08\x02\x00"))
    with pytest.raises(ValueError, match="cut off"):
        data.read_idx(path)
    path.write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="damaged gzip"):
        data.read_idx(path)


def test_subset_is_reproducible(tmp_path):
    loaded = data.load(save(tmp_path, arrays()))
    one, two = loaded.subset(7, 4), loaded.subset(7, 4)
    assert torch.equal(one.x_train, two.x_train) and (len(one.x_train), len(one.x_test)) == (7, 4)
    assert loaded.describe() != one.describe()


@pytest.mark.parametrize(("name", "shape"), [("mnist.npz", (1, 28, 28)), ("cifar10_subset.npz", (3, 32, 32))])
def test_real_files(data_dir, name, shape):
    if not (data_dir / name).is_file():
        pytest.skip(f"{name} is not in {data_dir}")
    loaded = data.load(str(data_dir / name))
    assert loaded.sample_shape == shape and len(loaded.classes) == 10


# ---- as stored ----


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("u1", "u1"), ("?", "u1"), ("i2", "f4"), (">u2", "f4"), ("i8", "f8"), ("f2", "f2"), (">f4", "f4"), ("f8", "f8")],
)
def test_stored_samples_are_not_normalised(tmp_path, dtype, expected):
    content = arrays((4, 5), dtype=dtype)
    stored = data.load_stored(save(tmp_path, {**content, "classes": np.array(list("abcde"))}))
    assert stored.x.dtype == np.dtype(expected) and stored.x.dtype.isnative and stored.x.shape == (20, 4, 5)
    assert np.array_equal(stored.x, content["x_train"]) and np.array_equal(stored.y, content["y_train"])
    assert stored.y.dtype == np.int64 and stored.classes == tuple("abcde")
    assert [stored.class_name(label) for label in (0, 4, 5, -1)] == ["a", "e", "5", "-1"]


def test_stored_samples_need_no_test_part(tmp_path):
    content = arrays()
    pair = {"x": content["x_test"], "y": content["y_test"] - 7}
    assert np.array_equal(data.load_stored(save(tmp_path, pair)).y, pair["y"])
    both = data.load_stored(save(tmp_path, {**pair, **{k: v for k, v in content.items() if "train" in k}}))
    assert len(both.x) == 20, "x_train comes before x"
    with pytest.raises(ValueError, match="x_train, y_train, x_test, y_test missing"):
        data.load(save(tmp_path, pair))

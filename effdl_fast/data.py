"""Data sets by one name: `load(spec)` gives normalised training and test tensors, `load_stored(spec)` what is stored.

Every image set comes out as float32 in channel-first order (N, C, H, W), every flat set as float32 (N, F).
Normalisation is the same for all: each channel (each feature of a flat set) is shifted by the mean and divided by the
standard deviation of the *training* part, so the range of the stored pixels (0..16, 0..255, 0..1) does not matter; a
constant channel is only shifted.

Labels are int64 in [0, classes). Where no class names are given, the training labels decide how many classes there are,
so they are taken only if they look like a numbering from 0: label 0 occurs, and there are at most 100 classes or at
least a tenth of them occur.

Nothing is downloaded unless `download=True`, and nothing is unpickled.
"""

from __future__ import annotations

import gzip
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from effdl_fast.errors import MissingFileError, MissingPackageError, UserError

DIGITS_TEST_FRACTION = 0.2
FASHION_MNIST_DIRS = (Path("/usr/share/datasets/fashion-mnist"),)  # where Debian's dataset-fashion-mnist puts its files
NPZ_KEYS = ("x_train", "y_train", "x_test", "y_test")
STORED_KEYS = (("x_train", "y_train"), ("x", "y"))  # of an .npz file that need not have a test part
TRUSTED_CLASSES, MIN_OCCURRING = 100, 0.1  # more classes than this must occur at least in this part
MAX_CHANNELS = 4  # an axis this short is read as channels (grey, RGB, RGBA)


@dataclass(frozen=True)
class Dataset:
    """A classification set in memory.

    x_train, x_test: float32 (N, C, H, W) or (N, F), normalised; y_train, y_test: int64 (N,); classes: the classes'
    names, in label order.
    """

    name: str
    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    classes: tuple[str, ...]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        return tuple(self.x_train.shape[1:])

    @property
    def features(self) -> int:
        return math.prod(self.sample_shape)

    def to(self, device: torch.device | str) -> Dataset:
        """The same set with its tensors on `device`."""
        return replace(self, **{key: getattr(self, key).to(device) for key in NPZ_KEYS})

    def subset(self, train: int, test: int, seed: int = 0) -> Dataset:
        """A fixed random part with at most `train` training and `test` test samples."""
        generator = torch.Generator().manual_seed(seed)
        pick_train = torch.randperm(len(self.x_train), generator=generator)[:train]
        pick_test = torch.randperm(len(self.x_test), generator=generator)[:test]
        return replace(
            self,
            name=f"{self.name}[{len(pick_train)}+{len(pick_test)}]",
            x_train=self.x_train[pick_train],
            y_train=self.y_train[pick_train],
            x_test=self.x_test[pick_test],
            y_test=self.y_test[pick_test],
        )

    def describe(self) -> dict[str, object]:
        """What a result file says about its data: name, sizes, and the CRC-32 of (normalised) samples and labels."""
        return {
            "name": self.name,
            "train": len(self.x_train),
            "test": len(self.x_test),
            "sample_shape": list(self.sample_shape),
            "classes": len(self.classes),
            "samples_crc32": _crc32(self.x_train, self.x_test),
            "labels_crc32": _crc32(self.y_train, self.y_test),
        }


@dataclass(frozen=True)
class Stored:
    """Labelled samples as they are stored, nothing normalised.

    x: (N, ...) uint8, float16, float32 or float64, finite; y: int64 (N,), any numbers; classes: the classes' names by
    label, where there are names.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    classes: tuple[str, ...] | None = None

    def class_name(self, label: int) -> str:
        return self.classes[label] if self.classes and 0 <= label < len(self.classes) else str(label)


@dataclass(frozen=True)
class _Arrays:
    """What a source holds: arrays by the keys of an .npz file."""

    name: str
    arrays: dict[str, np.ndarray]
    classes: tuple[str, ...] | None = None


def _crc32(*tensors: Tensor) -> int:
    """Of the values one after the other, whatever the device and the strides."""
    value = 0
    for tensor in tensors:
        value = zlib.crc32(tensor.detach().cpu().contiguous().numpy().data, value)
    return value


def load(spec: str, *, root: str | Path = "data", download: bool = False) -> Dataset:
    """The data set named by `spec`.

    spec: "digits" (scikit-learn's 1,797 embedded 8x8 digits, a fixed stratified 80/20 split), "fashion-mnist" (the
    files of Debian's package dataset-fashion-mnist), "torchvision:NAME" (any class-index set of torchvision.datasets
    with `train=` and `download=`, kept under `root`; fetched only with download=True), or the path of an .npz file with
    the arrays x_train, y_train, x_test, y_test and, if there are names, classes.

    Raises UserError (a ValueError) for an unknown spec and for arrays that do not fit together, MissingFileError (also
    a FileNotFoundError) and MissingPackageError (also an ImportError).
    """
    source = _read(spec, Path(root), download, (NPZ_KEYS,))
    return make_dataset(source.name, *(source.arrays[key] for key in NPZ_KEYS), classes=source.classes)


def load_stored(spec: str, *, root: str | Path = "data", download: bool = False) -> Stored:
    """The training part of the data set named by `spec`, as it is stored; an .npz file may also have just x and y.

    spec, root, download, errors: as `load`. Booleans become uint8, whole numbers other than uint8 a float that holds
    them (beyond 2^53 the nearest).
    """
    source = _read(spec, Path(root), download, STORED_KEYS)
    keys = next(keys for keys in STORED_KEYS if set(keys) <= set(source.arrays))
    return make_stored(source.name, *(source.arrays[key] for key in keys), classes=source.classes, keys=keys)


def _read(spec: str, root: Path, download: bool, npz_keys: tuple[tuple[str, ...], ...]) -> _Arrays:
    if spec == "digits":
        return _digits()
    if spec == "fashion-mnist":
        return _fashion_mnist()
    if spec.startswith("torchvision:"):
        return _torchvision(spec.removeprefix("torchvision:"), root, download)
    if spec.endswith(".npz"):
        return _npz(Path(spec), npz_keys)
    raise UserError(
        f"data: {spec!r} is not known; give digits, fashion-mnist, torchvision:NAME or the path of an .npz file"
    )


def make_stored(
    name: str,
    x: np.ndarray,
    y: np.ndarray,
    *,
    classes: tuple[str, ...] | None = None,
    keys: tuple[str, str] = STORED_KEYS[1],
) -> Stored:
    """Check two raw arrays against each other; the way every source ends that is not normalised."""
    _require_array(name, keys[0], x)
    if x.dtype.kind not in "buif":
        raise UserError(f"{name}: {keys[0]} must hold numbers, got dtype {x.dtype}")
    if x.ndim < 2 or math.prod(x.shape[1:]) == 0:
        raise UserError(f"{name}: {keys[0]} must be (N, ...) with values in every sample, got shape {x.shape}")
    labels = _labels(name, keys[1], y)
    if len(x) != len(labels):
        raise UserError(f"{name}: {keys[0]} has {len(x)} samples but {keys[1]} has {len(labels)} labels")
    if len(x) == 0:
        raise UserError(f"{name}: {keys[0]} is empty")
    if x.dtype.kind == "f":
        x = x.astype(x.dtype.newbyteorder("=") if x.dtype.itemsize <= 8 else np.float64, copy=False)
    elif x.dtype != np.uint8:
        x = x.astype(np.uint8 if x.dtype.kind == "b" else np.float32 if x.dtype.itemsize <= 2 else np.float64)
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise UserError(f"{name}: {keys[0]} holds NaN or infinite values")
    return Stored(name, x, labels, classes)


def make_dataset(
    name: str,
    x_train: np.ndarray,
    y_train: np.ndarray,
    x_test: np.ndarray,
    y_test: np.ndarray,
    *,
    classes: tuple[str, ...] | None = None,
) -> Dataset:
    """Check four raw arrays against each other and normalise them; the way every source in this module ends."""
    images_train, images_test = _images(name, "x_train", x_train), _images(name, "x_test", x_test)
    if images_train.shape[1:] != images_test.shape[1:]:
        raise UserError(f"{name}: x_train samples have shape {x_train.shape[1:]}, x_test samples {x_test.shape[1:]}")
    labels_train, labels_test = _labels(name, "y_train", y_train), _labels(name, "y_test", y_test)
    for part, x, y in (("train", images_train, labels_train), ("test", images_test, labels_test)):
        if len(x) != len(y):
            raise UserError(f"{name}: x_{part} has {len(x)} samples but y_{part} has {len(y)} labels")
        if len(x) == 0:
            raise UserError(f"{name}: x_{part} is empty")
    names = classes if classes is not None else _numbers(name, labels_train)
    for part, y in (("train", labels_train), ("test", labels_test)):
        if y.min() < 0 or y.max() >= len(names):
            raise UserError(f"{name}: y_{part} holds labels {y.min()} to {y.max()}, expected 0 to {len(names) - 1}")
    axes = (0, *range(2, images_train.ndim))
    mean = images_train.mean(axis=axes, keepdims=True, dtype=np.float64).astype(np.float32)
    std = images_train.std(axis=axes, keepdims=True, dtype=np.float64).astype(np.float32)
    exact = images_train.mean(axis=axes, keepdims=True, dtype=np.float64)
    std[std <= 1e-14 * np.abs(exact)] = 1  # constant, but for the rounding of the mean
    if (np.abs(exact - mean) > 1e-3 * std).any():  # far from 0: float32 does not hold the mean either
        mean = exact
    return Dataset(
        name,
        torch.from_numpy((images_train - mean).astype(np.float32) / std),
        torch.from_numpy(labels_train),
        torch.from_numpy((images_test - mean).astype(np.float32) / std),
        torch.from_numpy(labels_test),
        names,
    )


def _numbers(name: str, labels: np.ndarray) -> tuple[str, ...]:
    """Class names "0", "1", ... for labels that are plausibly numbered from 0; see the head of this module."""
    first, count, occurring = int(labels.min()), int(labels.max()) + 1, len(np.unique(labels))
    hint = "number the classes from 0, or give their names as classes"
    if first > 0:
        raise UserError(f"{name}: y_train holds labels {first} to {count - 1} and no 0; {hint}")
    if count > TRUSTED_CLASSES and occurring < MIN_OCCURRING * count:
        raise UserError(f"{name}: y_train holds labels up to {count - 1} but only {occurring} different ones; {hint}")
    return tuple(str(i) for i in range(count))


def _images(name: str, key: str, x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) or (N, F) from (N, H, W), (N, H, W, C), (N, C, H, W) or (N, F) numbers.

    float32 where that holds the numbers of x's dtype, else float64; all are finite in float32.
    """
    _require_array(name, key, x)
    if x.dtype.kind not in "buif":
        raise UserError(f"{name}: {key} must hold numbers, got dtype {x.dtype}")
    if x.ndim not in (2, 3, 4):
        raise UserError(f"{name}: {key} must be (N, F), (N, H, W), (N, H, W, C) or (N, C, H, W), got shape {x.shape}")
    if math.prod(x.shape[1:]) == 0:
        raise UserError(f"{name}: {key} has samples without values, shape {x.shape}")
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[1] > MAX_CHANNELS:
        if x.shape[3] > MAX_CHANNELS:
            raise UserError(f"{name}: {key} of shape {x.shape} has no channel axis of 1 to {MAX_CHANNELS}")
        x = x.transpose(0, 3, 1, 2)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        out = np.ascontiguousarray(x, dtype=np.float32)
    if not np.isfinite(out).all():
        raise UserError(f"{name}: {key} holds NaN or infinite values")
    if np.result_type(x.dtype, np.float32) != np.float32:
        out = np.ascontiguousarray(x, dtype=np.float64)
    return out


def _labels(name: str, key: str, y: np.ndarray) -> np.ndarray:
    """int64 (N,) from integer or boolean labels of shape (N,) or (N, 1); False is 0, True is 1."""
    _require_array(name, key, y)
    if y.dtype.kind not in "bui":
        raise UserError(f"{name}: {key} must hold integers, got dtype {y.dtype}")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise UserError(f"{name}: {key} must have shape (N,) or (N, 1), got {y.shape}")
    if y.size and int(y.max()) > np.iinfo(np.int64).max:
        raise UserError(f"{name}: {key} holds the label {int(y.max())}, which is no int64")
    return y.astype(np.int64)


def _require_array(name: str, key: str, value: object) -> None:
    if not isinstance(value, np.ndarray):
        raise UserError(f"{name}: {key} must be a NumPy array, got {type(value).__name__}")


def _npz(path: Path, choices: tuple[tuple[str, ...], ...]) -> _Arrays:
    """The arrays of the first choice of keys that is there as a whole."""
    if not path.is_file():
        raise MissingFileError(f"data: there is no file {path}")
    try:
        content = _read_npz(path, {key for keys in choices for key in keys})
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path.name}: not a readable .npz file of plain arrays ({error})") from error
    if not any(set(keys) <= set(content) for keys in choices):
        missing = " or ".join(", ".join(key for key in keys if key not in content) for keys in choices)
        raise UserError(f"{path.name}: {missing} missing; found {', '.join(content) or 'nothing'}")
    classes = tuple(str(name) for name in content["classes"].ravel()) if "classes" in content else None
    return _Arrays(path.stem, content, classes)


def _read_npz(path: Path, keys: set[str]) -> dict[str, np.ndarray]:
    """The arrays by these keys, and classes; of other members the names are kept as keys, they are not read."""
    if not zipfile.is_zipfile(path):  # np.load would take anything else for a pickle
        raise UserError("not a zip archive")
    with np.load(path, allow_pickle=False) as archive:
        content = {key: archive[key] if key in {*keys, "classes"} else np.empty(0) for key in archive.files}
    for key, value in content.items():
        if not isinstance(value, np.ndarray):  # numpy gives the bytes of a member that is no .npy file
            raise UserError(f"its member {key} is no .npy array")
    return content


def _digits() -> _Arrays:
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise MissingPackageError("data: the digits need scikit-learn; pip install scikit-learn") from error
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        x.reshape(-1, 8, 8), y, test_size=DIGITS_TEST_FRACTION, stratify=y, random_state=0
    )
    return _Arrays("digits", dict(zip(NPZ_KEYS, (x_train, y_train, x_test, y_test), strict=True)))


def _torchvision(name: str, root: Path, download: bool) -> _Arrays:
    try:
        from torchvision import datasets
    except ImportError as error:
        raise MissingPackageError("data: torchvision sets need torchvision; pip install torchvision") from error
    kind: Callable | None = getattr(datasets, name, None)
    if name.startswith("_") or not isinstance(kind, type) or not issubclass(kind, datasets.VisionDataset):
        raise UserError(f"data: torchvision.datasets has no data set {name!r}")
    try:
        parts = [kind(root=str(root), train=train, download=download) for train in (True, False)]
        arrays = [np.asarray(array) for part in parts for array in (part.data, part.targets)]
    except (TypeError, AttributeError) as error:
        raise UserError(f"data: torchvision's {name} is not an in-memory set with a train/test split") from error
    except RuntimeError as error:
        hint = "" if download else "; use --download to fetch it"
        raise MissingFileError(f"data: torchvision's {name} is not complete under {root}{hint} ({error})") from error
    classes = tuple(getattr(parts[0], "classes", ())) or None
    return _Arrays(name, dict(zip(NPZ_KEYS, arrays, strict=True)), classes)


def _fashion_mnist() -> _Arrays:
    for folder in FASHION_MNIST_DIRS:
        if folder.is_dir():
            files = [
                folder / f"{part}-{kind}-ubyte.gz"
                for part in ("train", "t10k")
                for kind in ("images-idx3", "labels-idx1")
            ]
            classes = (
                "T-shirt",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            )
            arrays = dict(zip(NPZ_KEYS, map(read_idx, files), strict=True))
            return _Arrays("fashion-mnist", arrays, classes)
    places = ", ".join(map(str, FASHION_MNIST_DIRS))
    raise MissingFileError(f"data: fashion-mnist not found in {places}; apt install dataset-fashion-mnist")


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array in a gzip-compressed IDX file (the format of MNIST: http://yann.lecun.com/exdb/mnist)."""
    try:
        with gzip.open(path, "rb") as file:
            content = file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path.name}: damaged gzip file ({error})") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise UserError(f"{path.name}: not an IDX file of unsigned bytes")
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise UserError(f"{path.name}: the IDX header is cut off")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    if math.prod(shape) != len(content) - header:
        raise UserError(f"{path.name}: {len(content) - header} bytes of data, but the header says shape {shape}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)

"""Labelled samples to filter: whatever `effdl_fast.data` knows, or a folder of images in a folder for each class."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from effdl_fast.data import Stored, load_stored, make_stored
from effdl_fast.errors import MissingPackageError, UserError

NAMED = ("digits", "fashion-mnist")
CHUNK = 256  # images read before the next ones are asked for: bounds what an interrupt waits for


@dataclass(frozen=True)
class Source:
    """files: of a folder of images their paths within it, by sample; None for all other sources."""

    stored: Stored
    files: tuple[str, ...] | None = None


def load(
    spec: str,
    *,
    size: int,
    root: Path = Path("data"),
    download: bool = False,
    progress: Callable[[int, int], Any] = lambda done, total: None,
) -> Source:
    """The samples of `spec`: a folder, or as `data.load_stored`. progress: images read, and all there are.

    The images of a folder become uint8 (N, size, size, 3): the shorter side is scaled to `size`, the middle cut out.
    """
    if Path(spec).is_dir():
        return _image_folder(Path(spec), size, progress)
    if not spec.endswith(".npz") and spec not in NAMED and not spec.startswith("torchvision:"):
        others = f"{', '.join(NAMED)}, torchvision:NAME and the path of an .npz file"
        raise UserError(f"SOURCE: there is no folder {spec}; a folder of images, {others} are known")
    return Source(load_stored(spec, root=root, download=download))


def _image_folder(folder: Path, size: int, progress: Callable[[int, int], Any]) -> Source:
    try:
        from torchvision.datasets import ImageFolder
    except ImportError as error:
        raise MissingPackageError("SOURCE: folders of images need torchvision; pip install torchvision") from error
    try:
        listed = ImageFolder(str(folder))
    except FileNotFoundError as error:
        raise UserError(f"SOURCE: {folder} must hold a folder of images for each class ({error})") from error
    paths, labels = zip(*listed.samples, strict=True)
    x = np.empty((len(paths), size, size, 3), np.uint8)
    with ThreadPoolExecutor() as pool:  # decoding and scaling leave the interpreter to other threads
        for begin in range(0, len(paths), CHUNK):
            chunk = paths[begin : begin + CHUNK]
            for place, image in enumerate(pool.map(lambda path: _image(path, size), chunk), begin):
                x[place] = image
            progress(len(chunk), len(paths))
    stored = make_stored(folder.name, x, np.array(labels), classes=tuple(listed.classes))
    return Source(stored, tuple(Path(path).relative_to(folder).as_posix() for path in paths))


def _image(path: str, size: int) -> np.ndarray:
    from PIL import Image
    from torchvision.transforms.functional import center_crop, resize

    try:
        with Image.open(path) as image:
            return np.asarray(center_crop(resize(image.convert("RGB"), size), [size, size]))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"SOURCE: {path} is no readable image ({error})") from error

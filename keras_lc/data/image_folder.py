"""Images sorted into one folder per class."""

import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from keras_lc.data.array_cache import cache_path, read_arrays, write_arrays
from keras_lc.data.dataset import Dataset
from keras_lc.data.optional import require

_SUFFIXES = (".png", ".jpg", ".jpeg")
_TEST_NAMES = ("test", "val", "validation")
# What Windows leaves behind; files whose name begins with a dot are ignored as well.
_LEFT_BEHIND = ("thumbs.db", "desktop.ini")
# Modes with 8 bits per channel: deeper ones would be clipped to white.
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
# Part of the fingerprint: to be raised when the same files would be decoded to other arrays.
_VERSION = 1

# Class name → its files, both sorted by name.
_Listing = dict[str, list[os.DirEntry]]


def read(name: str, root: Path, progress: bool = True) -> Dataset | None:
    """Reads `root/train/<class>/*` and `root/test/<class>/*`.

    The images are decoded once and cached (see `array_cache`). `val` or `validation` may stand
    for `test`.

    Args:
        name: Name of the dataset.
        root: The image folder, which is only read.
        progress: Whether to show a progress bar while the images are decoded.

    Returns:
        The dataset, sorted by class and then by file name, with one channel if every image is
        grayscale and three otherwise; `None` if `root` holds none of these splits.

    Raises:
        FileNotFoundError: If one of the splits is missing.
        ValueError: If the splits have different classes, a class is empty, or a file is no
            image, is damaged or has another size than the first.
        ImportError: If Pillow or tqdm is not installed.
    """
    listings = list_splits(root)
    if listings is None:
        return None
    cached = cache_path(root)
    fingerprint = _fingerprint(listings)
    arrays = read_arrays(cached, fingerprint)
    if arrays is None:
        arrays = _decode(listings, progress)
        write_arrays(cached, fingerprint, arrays)
    class_names = tuple(next(iter(listings.values())))
    return Dataset(name, **arrays, class_names=class_names)


def list_splits(root: Path) -> dict[Path, _Listing] | None:
    """Lists the files of a folder that holds `train/<class>/*` and `test/<class>/*`.

    Args:
        root: The image folder.

    Returns:
        The folder of each split, training first, with its classes and their files, sorted by
        name; `None` if `root` holds none of these splits.

    Raises:
        FileNotFoundError, ValueError: As `read`, but for what only the decoded images show.
    """
    train = root / "train"
    test = next((root / n for n in _TEST_NAMES if (root / n).is_dir()), root / "test")
    if not train.is_dir() and not test.is_dir():
        return None
    if not train.is_dir():
        raise FileNotFoundError(f"{root} holds `{test.name}`, but no folder `train`")
    if not test.is_dir():
        raise FileNotFoundError(
            f"{root} holds `train`, but no folder `test` (nor `val`, nor `validation`)"
        )
    listings = {train: _list(train), test: _list(test)}
    _check_same_classes(listings)
    return listings


def _list(split: Path) -> _Listing:
    listing = {}
    for folder in _entries(split):
        if not folder.is_dir():
            raise ValueError(
                f"{folder.path} is not a class folder. Only these may lie in {split}; hidden "
                "files are ignored"
            )
        files = _entries(folder.path)
        if not files:
            raise ValueError(f"The class folder {folder.path} is empty")
        for file in files:
            if not file.is_file() or not file.name.lower().endswith(_SUFFIXES):
                raise ValueError(
                    f"{file.path} is not an image with the suffix {', '.join(_SUFFIXES)}. Only "
                    "these may lie in a class folder; hidden files are ignored"
                )
        listing[folder.name] = files
    if not listing:
        raise ValueError(f"{split} holds no class folders")
    return listing


def _entries(folder: str | Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        visible = [
            entry
            for entry in entries
            if not entry.name.startswith(".") and entry.name.lower() not in _LEFT_BEHIND
        ]
    return sorted(visible, key=lambda entry: entry.name)


def _check_same_classes(listings: dict[Path, _Listing]) -> None:
    (train, train_classes), (test, test_classes) = listings.items()
    if train_classes.keys() != test_classes.keys():
        only = [
            f"only in {split.name}: {', '.join(sorted(names)) or 'none'}"
            for split, names in (
                (train, train_classes.keys() - test_classes.keys()),
                (test, test_classes.keys() - train_classes.keys()),
            )
        ]
        raise ValueError(f"The splits of {train.parent} differ in classes; {'; '.join(only)}")


def _fingerprint(listings: dict[Path, _Listing]) -> str:
    digest = hashlib.sha256(f"{_VERSION}\0".encode())
    for split, listing in listings.items():
        for name, files in listing.items():
            for file in files:
                stat = file.stat()
                digest.update(os.fsencode(f"{split.name}/{name}/{file.name}\0"))
                digest.update(f"{stat.st_size} {stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _decode(listings: dict[Path, _Listing], progress: bool) -> dict[str, np.ndarray]:
    paths, labels, sizes = [], [], []
    for listing in listings.values():
        before = len(paths)
        for label, files in enumerate(listing.values()):
            paths += [file.path for file in files]
            labels += [label] * len(files)
        sizes.append(len(paths) - before)
    x = _decode_images(paths, progress)
    y = np.array(labels, np.int32)
    n = sizes[0]
    return {"x_train": x[:n], "y_train": y[:n], "x_test": x[n:], "y_test": y[n:]}


def _decode_images(paths: list[str], progress: bool) -> np.ndarray:
    tqdm = require("tqdm").tqdm
    with _strict_pillow():
        first = _open(paths[0])
        images = np.empty((len(paths), first.height, first.width, 3), np.uint8)
        only_gray = True
        pool = ThreadPoolExecutor()
        try:
            decoded = pool.map(partial(_to_rgb, first=first), paths)
            bar = tqdm(decoded, "Decoding", len(paths), unit=" images", disable=not progress)
            for index, (image, gray) in enumerate(bar):
                images[index] = image
                only_gray = only_gray and gray
        finally:
            # Or an error in the first image would wait until all others are decoded.
            pool.shutdown(cancel_futures=True)
    return np.ascontiguousarray(images[..., :1]) if only_gray else images


def _open(path: str):
    pillow = require("PIL.Image")
    try:
        with pillow.open(path) as image:
            image.load()
    # Pillow raises what each decoder stumbles on: OSError, SyntaxError, struct.error, …
    except Exception as error:
        raise ValueError(f"The image {path} is truncated or damaged: {error}") from error
    if image.mode not in _MODES:
        raise ValueError(
            f"The image {path} must have 8 bits per channel. Received: mode {image.mode!r}"
        )
    return image


def _to_rgb(path: str, first) -> tuple[np.ndarray, bool]:
    image = _open(path)
    if image.size != first.size:
        raise ValueError(
            "All images must have one size, but "
            f"{first.filename} has {first.width} x {first.height} pixels and "
            f"{path} has {image.width} x {image.height}"
        )
    return np.asarray(image.convert("RGB")), image.mode == "L"


@contextmanager
def _strict_pillow() -> Iterator[None]:
    """Makes Pillow reject truncated images, whatever another package has told it."""
    image_file = require("PIL.ImageFile")
    before = image_file.LOAD_TRUNCATED_IMAGES
    image_file.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        image_file.LOAD_TRUNCATED_IMAGES = before

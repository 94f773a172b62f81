"""Reads images from one folder per class."""

import hashlib
import os
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_lc.data import picture
from keras_lc.data.array_cache import cache_path, read_arrays, write_arrays
from keras_lc.data.dataset import Dataset
from keras_lc.data.optional import require
from keras_lc.listed import listed, shown

# In upper or lower case.
_TRAIN_NAMES = ("train",)
_TEST_NAMES = ("test", "val", "valid", "validation")
# Files and folders that systems, archives and servers create, in upper or lower case. They are
# ignored, like hidden files.
_LEFT_BEHIND = (
    "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information",
    "__macosx", "icon\r", "@eadir", "#recycle", "lost+found",
)  # fmt: skip
# The most lines of an error. It is large, because users need all lines to correct a folder.
_MOST_LINES = 100
# Part of the fingerprint. Raise it if the same files would be decoded to other arrays.
_VERSION = 2

# Class name → its files, both sorted by name.
_Listing = dict[str, list[os.DirEntry]]


def read(name: str, root: Path, progress: bool = True) -> Dataset | None:
    """Reads `root/train/<class>/*` and `root/test/<class>/*`.

    The images are decoded once and cached (see `array_cache`). The test folder can also be called
    `val`, `valid` or `validation`. All these names can be in upper or lower case.

    Args:
        name: Name of the dataset.
        root: The image folder. It is only read.
        progress: Whether to show a progress bar while the images are decoded.

    Returns:
        The dataset, sorted by class and then by file name. It has one channel if all images are
        grey, otherwise three (see `picture.decode`). `None` if `root` has none of these splits.

    Raises:
        FileNotFoundError: If one of the splits is missing.
        ValueError: If the splits have different classes, or a class is empty. If a file is not
            an image or cannot be read. If an image has another size than the first.
        ImportError: If Pillow or tqdm is not installed.
    """
    listings = list_splits(root)
    if listings is None:
        return None
    cached = cache_path(root)
    fingerprint = _fingerprint(listings)
    labels = [_labels(listing) for listing in listings.values()]
    arrays = read_arrays(cached, fingerprint)
    if arrays is None or not _are_those_of(labels, arrays):
        arrays = _decode(listings, labels, progress)
        write_arrays(cached, fingerprint, arrays)
    class_names = tuple(next(iter(listings.values())))
    return Dataset(name, **arrays, class_names=class_names)


def find_train(root: Path) -> Path | None:
    """Returns the folder of training images, or `None` if there is none in `root`."""
    return _find(root, _TRAIN_NAMES)


def find_splits(root: Path) -> tuple[Path, Path] | None:
    """Returns the folders of training and test images, or `None` if `root` has neither.

    Raises:
        FileNotFoundError: If one of them is missing.
        ValueError: If the names of several folders differ only in upper and lower case.
    """
    train, test = find_train(root), _find(root, _TEST_NAMES)
    if train is None and test is None:
        return None
    if train is None:
        raise FileNotFoundError(f"{root} holds `{test.name}`, but no folder `train`")
    if test is None:
        raise FileNotFoundError(
            f"{root} holds `{train.name}`, but no folder `test` (nor `val`, `valid`, `validation`)"
        )
    return train, test


def _find(root, names):
    with os.scandir(root) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir())
    for name in names:
        found = [folder for folder in folders if folder.lower() == name]
        if len(found) > 1:
            raise ValueError(f"{root} must hold one folder `{name}`. Received: {', '.join(found)}")
        if found:
            return root / found[0]
    return None


def list_splits(root: Path) -> dict[Path, _Listing] | None:
    """Lists the files of a folder with `train/<class>/*` and `test/<class>/*`.

    Args:
        root: The image folder.

    Returns:
        The folder of each split, first training, with its classes and their files, sorted by
        name. `None` if `root` has none of these splits.

    Raises:
        FileNotFoundError, ValueError: As in `read`, but the images are not decoded and checked.
    """
    splits = find_splits(root)
    if splits is None:
        return None
    faults = []
    listings = {split: _list(split, faults) for split in splits}
    if faults:
        raise _faulty(faults)
    _check_same_classes(listings)
    return listings


def _list(split: Path, faults: list[str]) -> _Listing:
    """Lists a split, and adds its faults to `faults`."""
    listing = {}
    for folder in _entries(split):
        if not folder.is_dir():
            faults.append(
                f"{folder.path} is not a class folder. {split} may contain only class folders and "
                "hidden files"
            )
            continue
        files = listing[folder.name] = _entries(folder.path)
        if not files:
            faults.append(f"The class folder {folder.path} is empty")
        faults += [
            f"{file.path} is not an image with the suffix {', '.join(picture.SUFFIXES)}. A class "
            "folder may contain only such images and hidden files"
            for file in files
            if not file.is_file() or not file.name.lower().endswith(picture.SUFFIXES)
        ]
    if not listing:
        faults.append(f"{split} holds no class folders")
    by_form = {}
    for name in listing:
        by_form.setdefault(unicodedata.normalize("NFC", name), []).append(shown(name))
    faults += [
        f"The class folders {' and '.join(names)} of {split} differ only in their Unicode form"
        for names in by_form.values()
        if len(names) > 1
    ]
    return listing


def _entries(folder: str | Path) -> list[os.DirEntry]:
    with os.scandir(folder) as entries:
        visible = [
            entry
            for entry in entries
            if not entry.name.startswith(".") and entry.name.lower() not in _LEFT_BEHIND
        ]
    return sorted(visible, key=lambda entry: entry.name)


def _faulty(faults: list[str]) -> ValueError:
    return ValueError(listed(faults, separator="\n", most=_MOST_LINES))


def _check_same_classes(listings: dict[Path, _Listing]) -> None:
    (train, train_classes), (test, test_classes) = listings.items()
    if train_classes.keys() != test_classes.keys():
        only = [
            f"only in {split.name}: {listed(map(shown, sorted(names))) or 'none'}"
            for split, names in (
                (train, train_classes.keys() - test_classes.keys()),
                (test, test_classes.keys() - train_classes.keys()),
            )
        ]
        raise ValueError(f"The splits of {train.parent} differ in classes: {'; '.join(only)}")


def _fingerprint(listings: dict[Path, _Listing]) -> str:
    digest = hashlib.sha256(f"{_VERSION}\0".encode())
    for split, listing in listings.items():
        for name, files in listing.items():
            for file in files:
                stat = file.stat()
                digest.update(os.fsencode(f"{split.name}/{name}/{file.name}\0"))
                digest.update(f"{stat.st_size} {stat.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _labels(listing: _Listing) -> np.ndarray:
    counts = [len(files) for files in listing.values()]
    return np.repeat(np.arange(len(counts), dtype=np.int32), counts)


def _are_those_of(labels: list[np.ndarray], arrays: dict[str, np.ndarray]) -> bool:
    """Returns whether arrays from the cache are valid images with these labels."""
    if sorted(arrays) != ["x_test", "x_train", "y_test", "y_train"]:
        return False
    sizes = {arrays[name].shape[1:] for name in ("x_train", "x_test")}
    return len(sizes) == 1 and all(
        arrays[f"x_{split}"].dtype == np.uint8
        and arrays[f"x_{split}"].ndim == 4
        and len(arrays[f"x_{split}"]) == len(wanted)
        and arrays[f"y_{split}"].dtype == wanted.dtype
        and np.array_equal(arrays[f"y_{split}"], wanted)
        for split, wanted in zip(("train", "test"), labels, strict=True)
    )


def _decode(
    listings: dict[Path, _Listing], labels: list[np.ndarray], progress: bool
) -> dict[str, np.ndarray]:
    paths = [
        file.path for listing in listings.values() for files in listing.values() for file in files
    ]
    x = _decode_images(paths, progress)
    n = len(labels[0])
    return {"x_train": x[:n], "y_train": labels[0], "x_test": x[n:], "y_test": labels[1]}


def _decode_images(paths: list[str], progress: bool) -> np.ndarray:
    tqdm = require("tqdm").tqdm
    first, only_gray, faults = None, True, []
    with picture.strict_pillow():
        pool = ThreadPoolExecutor()
        try:
            decoded = pool.map(_try_decode, paths)
            bar = tqdm(decoded, "Decoding", len(paths), unit=" images", disable=not progress)
            for index, image in enumerate(bar):
                if isinstance(image, ValueError):
                    faults.append(str(image))
                    continue
                if first is None:
                    first = index
                    images = np.empty((len(paths), *image.shape[:2], 3), np.uint8)
                if image.shape[:2] != images.shape[1:3]:
                    raise _other_size(paths[first], images[first], paths[index], image)
                images[index] = image
                only_gray = only_gray and image.shape[-1] == 1
        finally:
            # Otherwise an error would wait until all other images are decoded.
            pool.shutdown(cancel_futures=True)
    if faults:
        raise _faulty(faults)
    return np.ascontiguousarray(images[..., :1]) if only_gray else images


def _try_decode(path: str) -> np.ndarray | ValueError:
    """Returns an error instead of raising it, so that one message can list all errors."""
    try:
        return picture.decode(path, f"The image {path}")
    except ValueError as error:
        return error


def _other_size(first: str, first_image, path: str, image) -> ValueError:
    (height, width), (other_height, other_width) = first_image.shape[:2], image.shape[:2]
    return ValueError(
        f"All images must have the same size, but {first} has {width} x {height} pixels and "
        f"{path} has {other_width} x {other_height}"
    )

"""Reads images from one folder per class."""

import functools
import hashlib
import os
import shlex
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from keras_lc.data import picture
from keras_lc.data.array_cache import cache_path, read_arrays, write_arrays
from keras_lc.data.dataset import Dataset
from keras_lc.data.memory import free_memory
from keras_lc.data.optional import require
from keras_lc.data.resize import square
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
_VERSION = 3
_CONTENT_BYTES = 16

# Class name → its files, both sorted by name.
_Listing = dict[str, list[os.DirEntry]]


def read(
    name: str, root: Path, progress: bool = True, image_size: int | None = None
) -> Dataset | None:
    """Reads `root/train/<class>/*` and `root/test/<class>/*`.

    The images are decoded once and cached (see `array_cache`). The test folder can also be called
    `val`, `valid` or `validation`. All these names can be in upper or lower case. A warning names
    pictures that are in both splits, or in several classes.

    Args:
        name: Name of the dataset.
        root: The image folder. It is only read.
        progress: Whether to show a progress bar while the images are decoded.
        image_size: Height and width of the images (see `resize.square`). `None`: all pictures
            already have one size.

    Returns:
        The dataset, sorted by class and then by file name. It has one channel if all images are
        grey, otherwise three (see `picture.decode`). `None` if `root` has none of these splits.

    Raises:
        FileNotFoundError: If one of the splits is missing.
        ValueError: If the splits have different classes, or a class is empty. If a file is not
            an image or cannot be read. If an image has another size than the first. If the images
            do not fit into memory.
        ImportError: If Pillow or tqdm is not installed.
    """
    listings = list_splits(root)
    if listings is None:
        return None
    images, contents = _load(root, listings, image_size, progress)
    train, test = map(_labels, listings.values())
    n = len(train)
    in_test = np.arange(len(images)) >= n
    _warn_of_copies(_paths(listings), contents, np.concatenate([train, test]), in_test)
    class_names = tuple(next(iter(listings.values())))
    return Dataset(name, images[:n], train, images[n:], test, class_names)


def read_classes(
    name: str,
    root: Path,
    test_share: float,
    seed: int,
    progress: bool = True,
    image_size: int | None = None,
) -> Dataset | None:
    """Reads `root/<class>/*`, and takes some pictures of each class for testing.

    Args:
        name, root, progress, image_size: As in `read`.
        test_share, seed: As in `list_parts`.

    Returns:
        The dataset, as in `read`. `None` if `root` has no folders of pictures.

    Raises:
        ValueError, ImportError: As in `read` and `list_parts`.
    """
    listing = list_classes(root)
    if listing is None:
        return None
    listings = {root: listing}
    images, contents = _load(root, listings, image_size, progress, copies=2)
    labels = _labels(listing)
    in_test = _choose(list(listing), labels, contents, test_share, seed)
    _warn_of_copies(_paths(listings), contents, labels, in_test)
    return Dataset(
        name, images[~in_test], labels[~in_test], images[in_test], labels[in_test], tuple(listing)
    )


def list_parts(
    root: Path, test_share: float, seed: int, progress: bool = True
) -> tuple[_Listing, _Listing] | None:
    """Lists the training and the test files of a folder with `<class>/*`. Decodes no picture.

    Seed and content of a file decide where it goes, and nothing else. So a file that is added or
    renamed does not move the others, and equal files stay together. The share of a class is
    therefore not exact; but each class has at least one picture in each part.

    Args:
        root: The image folder.
        test_share: Number between 0 and 1, the share of the pictures for testing.
        seed: Integer.
        progress: Whether to show a progress bar while the files are read.

    Returns:
        The classes of each part and their files. `None` if `root` has no folders of pictures.

    Raises:
        ValueError: If there are fewer than two classes, or a class has no two different pictures.
            If a file is not an image by its name, or cannot be read.
    """
    listing = list_classes(root)
    if listing is None:
        return None
    cached, fingerprint = cache_path(root, "contents"), _fingerprint({root: listing})
    arrays = read_arrays(cached, fingerprint)
    labels = _labels(listing)
    if arrays is None or not _are_contents(arrays.get("contents"), len(labels)):
        paths = _paths({root: listing})
        contents = np.array(list(_in_threads(_hash, paths, "Reading", progress)), np.uint8)
        arrays = {"contents": contents}
        write_arrays(cached, fingerprint, arrays)
    in_test = iter(_choose(list(listing), labels, arrays["contents"], test_share, seed))
    train, test = {}, {}
    for name, files in listing.items():
        train[name], test[name] = [], []
        for file in files:
            (test if next(in_test) else train)[name].append(file)
    return train, test


def list_classes(root: Path) -> _Listing | None:
    """Lists the files of a folder with `<class>/*`.

    Returns:
        The classes and their files, sorted by name. `None` if no folder in `root` holds a picture.

    Raises:
        ValueError: If there are fewer than two classes, or a file does not belong there.
    """
    if not any(_holds_pictures(entry.path) for entry in _entries(root) if entry.is_dir()):
        if _holds_pictures(root):
            raise ValueError(
                f"{root} must hold a folder for each class, at least two. Received: pictures "
                "without class folders"
            )
        return None
    faults = []
    listing = _list(root, faults)
    if faults:
        raise _faulty(faults)
    if len(listing) < 2:
        raise ValueError(
            f"{root} must hold a folder for each class, at least two. Received: "
            f"{', '.join(map(shown, listing))}"
        )
    return listing


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
            f". To take some of its pictures for testing, pass the folder {train}"
        )
    return train, test


def _find(root, names):
    with os.scandir(root) as entries:
        # A folder of pictures is a class, whatever its name is.
        folders = sorted(
            entry.name for entry in entries if entry.is_dir() and not _is_class(entry.path)
        )
    for name in names:
        found = [folder for folder in folders if folder.lower() == name]
        if len(found) > 1:
            raise ValueError(f"{root} must hold one folder `{name}`. Received: {', '.join(found)}")
        if found:
            return root / found[0]
    return None


def _is_class(folder):
    return _holds_pictures(folder) and not any(entry.is_dir() for entry in _entries(folder))


def _holds_pictures(folder):
    return any(
        entry.name.lower().endswith(picture.SUFFIXES) and entry.is_file()
        for entry in _entries(folder)
    )


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


def _paths(listings: dict[Path, _Listing]) -> list[str]:
    return [
        file.path for listing in listings.values() for files in listing.values() for file in files
    ]


# --- Decoding ---


def _load(root, listings, image_size, progress, copies=1):
    """Returns images and hashes of all files, from the cache if possible.

    `copies` is how often the images are in memory at the same time.
    """
    cached = cache_path(root, f"{image_size}")
    fingerprint = f"{image_size} {_fingerprint(listings)}"
    paths = _paths(listings)
    arrays = read_arrays(cached, fingerprint)
    if arrays is None or not _are_those_of(paths, arrays):
        allocate = functools.partial(_allocate, root, len(paths), copies)
        arrays = _decode(paths, image_size, progress, allocate)
        write_arrays(cached, fingerprint, arrays)
    return arrays["images"], arrays["contents"]


def _are_those_of(paths: list[str], arrays: dict[str, np.ndarray]) -> bool:
    """Returns whether arrays from the cache are valid images and hashes of so many files."""
    if sorted(arrays) != ["contents", "images"]:
        return False
    images = arrays["images"]
    return (
        images.dtype == np.uint8
        and images.ndim == 4
        and len(images) == len(paths)
        and _are_contents(arrays["contents"], len(paths))
    )


def _are_contents(contents, count):
    return (
        contents is not None
        and contents.dtype == np.uint8
        and contents.shape == (count, _CONTENT_BYTES)
    )


def _allocate(root, count, copies, height, width):
    """Returns an empty array for images. Refuses what does not fit into memory."""
    needed, free = copies * count * height * width * 3, free_memory()
    if needed > free:
        folder = shlex.quote(str(root))
        command = f"python -m recipes.imagenet --data-dir {folder} --image-size {height}"
        raise ValueError(
            f"The {count:,} pictures of {root} need {needed / 1e9:.1f} GB of memory as {width} x "
            f"{height} pixels, but only {free / 1e9:.1f} GB are free. Make them smaller with "
            "`image_size` (--image-size), or train from the files, which need not fit into "
            f"memory: {command}"
        )
    return np.empty((count, height, width, 3), np.uint8)


def _decode(paths: list[str], image_size, progress: bool, allocate) -> dict[str, np.ndarray]:
    first, only_gray, faults = None, True, []
    images, contents = None, np.zeros((len(paths), _CONTENT_BYTES), np.uint8)
    if image_size is not None:
        images = allocate(image_size, image_size)
    decode = functools.partial(_try_decode, image_size=image_size)
    with picture.strict_pillow():
        for index, decoded in enumerate(_in_threads(decode, paths, "Decoding", progress)):
            if isinstance(decoded, ValueError):
                faults.append(str(decoded))
                continue
            image, contents[index] = decoded
            first = index if first is None else first
            if images is None:
                images = allocate(*image.shape[:2])
            if image.shape[:2] != images.shape[1:3]:
                raise _other_size(paths[first], images[first], paths[index], image)
            images[index] = image
            only_gray = only_gray and image.shape[-1] == 1
    if faults:
        raise _faulty(faults)
    images = np.ascontiguousarray(images[..., :1]) if only_gray else images
    return {"images": images, "contents": contents}


def _in_threads(function, paths, title, progress):
    """Yields `function(path)` of each path, in order, and shows a progress bar."""
    tqdm = require("tqdm").tqdm
    pool = ThreadPoolExecutor()
    try:
        done = pool.map(function, paths)
        yield from tqdm(done, title, len(paths), unit=" images", disable=not progress)
    finally:
        # Otherwise an error would wait until all other images are decoded.
        pool.shutdown(cancel_futures=True)


def _try_decode(path: str, image_size: int | None) -> tuple[np.ndarray, np.ndarray] | ValueError:
    """Returns image and hash. Returns an error instead of raising it, so that all are listed."""
    try:
        image = picture.decode(path, f"The image {path}")
        if image_size is not None:
            image = square(image[None], image_size)[0]
        return image, _hash(path)
    except ValueError as error:
        return error


# --- Training and test ---


def _hash(path: str) -> np.ndarray:
    digest = hashlib.blake2b(Path(path).read_bytes(), digest_size=_CONTENT_BYTES)
    return np.frombuffer(digest.digest(), np.uint8)


def _choose(class_names, labels, contents, test_share, seed):
    """Returns which pictures are for testing; see `list_parts`."""
    places = np.array([_place(content.tobytes(), seed) for content in contents])
    in_test = places < test_share
    too_few = []
    for label, name in enumerate(class_names):
        own = labels == label
        first, last = places[own].min(), places[own].max()
        if first == last:
            too_few.append(f"{shown(name)} ({np.sum(own)})")
        elif not in_test[own].any():
            in_test |= places == first
        elif in_test[own].all():
            in_test &= places != last
    if too_few:
        raise ValueError(
            "Each class must have at least two different pictures, one for training and one for "
            f"testing. Received: {listed(too_few)}"
        )
    return in_test


def _place(content: bytes, seed: int) -> float:
    """Returns a number from 0 to 1 that depends on content and seed alone."""
    digest = hashlib.blake2b(content, digest_size=6, key=str(seed).encode()).digest()
    return int.from_bytes(digest, "big") / 2**48


def _warn_of_copies(paths, contents, labels, in_test):
    """Warns of equal files in training and test, or in different classes."""
    groups = {}
    for index, content in enumerate(contents):
        groups.setdefault(content.tobytes(), []).append(index)
    for what, values in (
        ("for training and for testing, so that the test accuracy is too high", in_test),
        ("in different classes", labels),
    ):
        found = [group for group in groups.values() if len(set(values[group].tolist())) > 1]
        if found:
            names = (" = ".join(shown(paths[index]) for index in group[:3]) for group in found)
            warnings.warn(
                f"Some pictures are there several times, {what}: {listed(names)}.",
                stacklevel=2,
            )


def _other_size(first: str, first_image, path: str, image) -> ValueError:
    (height, width), (other_height, other_width) = first_image.shape[:2], image.shape[:2]
    return ValueError(
        f"All images must have the same size, but {first} has {width} x {height} pixels and "
        f"{path} has {other_width} x {other_height}. To bring all to one size, pass `image_size`, "
        "for example image_size=96 (--image-size 96)"
    )

"""The images of a run: their description, and subsets of them."""

import dataclasses
import hashlib
import pathlib

import numpy as np

import keras_lc
from keras_lc.data import image_folder, picture


def balanced(labels: np.ndarray, count: int) -> np.ndarray:
    """Returns the positions of images of all classes. The numbers per class differ by one at most.

    It takes the first images of each class. So a larger subset contains every smaller one.

    Args:
        labels: Array of integer labels `(n,)`.
        count: Integer from 1 to n.

    Returns:
        The positions, in ascending order.

    Raises:
        ValueError: If `count` is less than 1 or more than the number of images.
    """
    if not 1 <= count <= len(labels):
        raise ValueError(
            f"A subset must have from 1 to {len(labels)} images. Received: {count} images"
        )
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    within_class = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(by_class[np.argsort(within_class, kind="stable")[:count]])


def evaluation_batch(images: np.ndarray, small: int) -> int:
    """Returns the number of images to evaluate at once: fewer large ones, so that they fit.

    Args:
        images: Array `(n, height, width, channels)` or `(n, channels, height, width)`.
        small: Integer, the number for images of 32×32 pixels.
    """
    pixels = images[0].size // min(images.shape[1], images.shape[-1])
    return max(1, min(small, small * 32 * 32 // pixels))


def take_subset(dataset: keras_lc.data.Dataset, count: int) -> keras_lc.data.Dataset:
    """Returns the data set with `count` of its training images, and all of its test images."""
    places = balanced(dataset.y_train, count)
    return dataclasses.replace(
        dataset, x_train=dataset.x_train[places], y_train=dataset.y_train[places]
    )


def spread(images: np.ndarray, count: int) -> np.ndarray:
    """Returns `count` images at equal distances, or all. A folder's images are sorted by class."""
    return images[np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)]


def check_classes(dataset: keras_lc.data.Dataset) -> None:
    """Raises `ValueError` if there is nothing to tell apart."""
    if dataset.num_classes < 2:
        raise ValueError(
            f"{dataset.name} must have at least two classes. Received: {dataset.num_classes}"
        )


def describe(dataset: keras_lc.data.Dataset, data_dir: pathlib.Path | None) -> dict:
    """Returns a description that tells these images from other images of the same data set.

    Returns:
        A dict with the `fingerprint` of all images and labels, their `source` (JPEG compression
        lowers accuracy), and the numbers of `training_images` and `test_images`.
    """
    digest = hashlib.sha256()
    for array in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return {
        "fingerprint": digest.hexdigest()[:12],
        "source": _source(data_dir),
        "training_images": len(dataset.x_train),
        "test_images": len(dataset.x_test),
    }


def _source(data_dir):
    root = pathlib.Path(data_dir).expanduser() if data_dir else None
    if root is None or not root.is_dir():
        return "original"
    train = image_folder.find_train(root)
    suffixes = (path.suffix.lower() for path in (train or root).glob("*/*"))
    first = next((suffix for suffix in suffixes if suffix in picture.SUFFIXES), None)
    if train is None and first is None:
        return "original"
    return "image folder, JPEG" if first in (".jpg", ".jpeg", ".jfif") else "image folder"

"""Checks of images and labels in arrays, before any work with them."""

from collections.abc import Sequence

import keras
import numpy as np


def is_array(x: object) -> bool:
    """Returns whether something is an array or a tensor, of any library."""
    return hasattr(x, "shape") and hasattr(x, "dtype") and hasattr(x, "__getitem__")


def check_images(x: object, shape: Sequence[int | None]) -> None:
    """Raises `ValueError` if `x` is not an array of images of this shape, without the batch."""
    expected = tuple(shape)
    if not is_array(x) or not _fits(tuple(x.shape[1:]), expected):
        got = f"shape {tuple(x.shape)}" if is_array(x) else type(x).__name__
        raise ValueError(f"`x` must be images of shape {(None, *expected)}. Received: {got}")


def check_counts(x: Sequence, y: Sequence) -> None:
    """Raises `ValueError` if there are no images, or another number of labels."""
    if not 1 <= len(x) == len(y):
        raise ValueError(
            "`x` and `y` must have the same number of images and labels, at least one. "
            f"Received: {len(x)} images, {len(y)} labels"
        )


def class_numbers(y: object, classes: int) -> np.ndarray:
    """Returns labels as class numbers. Refuses labels that do not fit the number of classes.

    Args:
        y: Array of integer labels `(n,)` or `(n, 1)`, or of one-hot labels (or class
            probabilities) `(n, classes)`.
        classes: Integer, the number of classes.

    Returns:
        An int32 array `(n,)`.
    """
    labels = keras.ops.convert_to_numpy(y)
    if labels.ndim == 2 and labels.shape[1] == classes > 1:
        return labels.argmax(axis=1).astype("int32")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    number = np.issubdtype(labels.dtype, np.number) or labels.dtype == bool
    if labels.ndim != 1 or not number or not np.array_equal(labels, np.floor(labels)):
        raise ValueError(
            f"`y` must be integers `(n,)` or one-hot `(n, {classes})`. "
            f"Received: shape {labels.shape}, dtype {labels.dtype}"
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"`y` must be labels from 0 to {classes - 1} for a model with classes={classes}. "
            f"Received: labels from {labels.min()} to {labels.max()}"
        )
    return labels.astype("int32")


def _fits(shape, expected):
    return len(shape) == len(expected) and all(
        size in (None, given) for given, size in zip(shape, expected, strict=True)
    )

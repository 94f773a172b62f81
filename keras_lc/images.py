"""Images and labels in arrays, checked before any work is done with them."""

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
    """Raises `ValueError` if there are no images, or not as many labels."""
    if not 1 <= len(x) == len(y):
        raise ValueError(
            "`x` and `y` must be equally many images and labels, at least one. "
            f"Received: {len(x)} images, {len(y)} labels"
        )


def class_numbers(y: object, classes: int) -> np.ndarray:
    """Returns the classes of labels, or refuses what cannot be labels of so many classes.

    Args:
        y: Array of integer labels `(n,)` or `(n, 1)`, or one-hot ones (or shares of the classes)
            `(n, classes)`.
        classes: Integer.

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

"""The dataset that every source returns."""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

# Number of images counted at once: `np.bincount` converts its input to 8 bytes per value.
_CHUNK = 1024


# Without `eq=False`, `==` would compare arrays and fail.
@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images with their labels, all in memory.

    Args:
        name: Name of the dataset.
        x_train: Training images, `(n, height, width, channels)`, uint8.
        y_train: Classes of the training images, `(n,)`, int32.
        x_test: Test images, of the same size as the training images.
        y_test: Classes of the test images.
        class_names: Name of each class. Label `k` has the name `class_names[k]`.

    Raises:
        ValueError: If shapes, data types or labels are not as described here.

    Example:

    >>> digits = keras_lc.data.load("digits")
    >>> digits.x_train.shape, digits.num_classes
    ((1442, 32, 32, 1), 10)
    >>> model = keras_lc.ResNetLC(
    ...     depth=20,
    ...     expansion=8,
    ...     input_shape=digits.image_shape,
    ...     classes=digits.num_classes,
    ...     mean=digits.mean,
    ...     std=digits.std,
    ... )
    """

    name: str
    x_train: np.ndarray = field(repr=False)
    y_train: np.ndarray = field(repr=False)
    x_test: np.ndarray = field(repr=False)
    y_test: np.ndarray = field(repr=False)
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        for split, x, y in (
            ("train", self.x_train, self.y_train),
            ("test", self.x_test, self.y_test),
        ):
            if x.dtype != np.uint8 or x.ndim != 4 or x.shape[1:] != self.image_shape:
                raise ValueError(
                    f"{self.name}: `x_{split}` must be uint8 of shape "
                    f"{('n', *self.image_shape)}. Received: {x.dtype} of shape {x.shape}"
                )
            if y.dtype != np.int32 or y.shape != x.shape[:1]:
                raise ValueError(
                    f"{self.name}: `y_{split}` must be int32 of shape ({len(x)},), one label per "
                    f"image. Received: {y.dtype} of shape {y.shape}"
                )
            if y.size and not 0 <= y.min() <= y.max() < self.num_classes:
                raise ValueError(
                    f"{self.name}: `y_{split}` must hold labels from 0 to {self.num_classes - 1}. "
                    f"Received: labels from {y.min()} to {y.max()}"
                )

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """`(height, width, channels)` of every image."""
        return self.x_train.shape[1:]

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel over the training images, in pixel units (0 to 255)."""
        return self._statistics[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel over the training images, in pixel units."""
        return self._statistics[1]

    @cached_property
    def _statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        counts = np.zeros((self.image_shape[-1], 256), np.int64)
        for start in range(0, len(self.x_train), _CHUNK):
            pixels = self.x_train[start : start + _CHUNK]
            for channel, count in enumerate(counts):
                count += np.bincount(pixels[..., channel].ravel(), minlength=256)
        # The sums are exact integers. Python rounds a quotient of integers only once.
        n = int(counts[0].sum())
        values = np.arange(256)
        sums = [int(s) for s in counts @ values]
        squares = [int(s) for s in counts @ values**2]
        mean = tuple(s / n for s in sums)
        std = tuple(
            math.sqrt((n * q - s * s) / (n * n)) for s, q in zip(sums, squares, strict=True)
        )
        return mean, std

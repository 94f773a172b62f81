"""Batches for one process: its part of each batch, and batches for evaluation."""

import keras
import numpy as np

from keras_lc.images import check_counts
from keras_lc.types import Array


class PartOfBatches(keras.utils.PyDataset):
    """Takes one part of every batch of another data set. All parts are equally large.

    Args:
        batches: `keras.utils.PyDataset` of tuples of arrays. The batch size must be divisible by
            `parts`.
        parts: Integer, the number of parts, i.e. of processes.
        part: Integer from 0 to `parts - 1`.

    Example:

    >>> batches = keras_lc.training.ShuffledBatches(np.arange(8), np.arange(8), 4, shuffle=False)
    >>> keras_lc.distribution.PartOfBatches(batches, parts=2, part=1)[0][0]
    array([2, 3])
    """

    def __init__(self, batches: keras.utils.PyDataset, parts: int, part: int):
        super().__init__()
        self._batches = batches
        self._parts = parts
        self._part = part

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        return _part(self._batches[index], self._parts, self._part)

    @property
    def epoch(self) -> int:
        """Integer, the current epoch."""
        return self._batches.epoch

    def start_epoch(self, epoch: int) -> None:
        """Switches to the batches of this epoch."""
        self._batches.start_epoch(epoch)

    def on_epoch_end(self) -> None:
        self._batches.on_epoch_end()


class EvaluationBatches(keras.utils.PyDataset):
    """Batches of all images in their order. The last batch is filled up to a divisible size.

    The added images have weight 0. Keras averages a loss over all images of a batch, also over
    images with weight 0, so the other images get a weight slightly above 1. The loss and all
    `weighted_metrics` are then the same as without the added images.

    Args:
        x, y: Arrays of equal length.
        batch_size: Integer, the images of a batch in all processes together. It is rounded up to
            a multiple of `multiple_of`.
        multiple_of: Integer, the number of replicas. Every batch size is a multiple of it.
        parts, part: Integers, as in `PartOfBatches`.
        weight: Float, the weight of an image. The default weight gives the exact loss. A weight
            of 1 gives exact sums of whole numbers.

    Example:

    >>> images, labels = np.zeros((5, 8, 8, 3), "uint8"), np.arange(5)
    >>> batches = keras_lc.distribution.EvaluationBatches(images, labels, 4, multiple_of=2)
    >>> [labels.tolist() for _, labels, _ in batches]
    [[0, 1, 2, 3], [4, 4]]
    >>> batches[1][2]
    array([1.2, 0. ], dtype=float32)
    """

    def __init__(
        self,
        x: Array,
        y: Array,
        batch_size: int,
        multiple_of: int = 1,
        parts: int = 1,
        part: int = 0,
        weight: float | None = None,
    ):
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be at least 1. Received: batch_size={batch_size}")
        check_counts(x, y)
        self._x, self._y = x, y
        self._batch_size = _round_up(batch_size, multiple_of)
        # Filled up with a real image, because an image of zeros might give NaN.
        self._images = _round_up(len(x), multiple_of)
        self._weight = self._images / len(x) if weight is None else weight
        self._parts, self._part = parts, part

    def __len__(self) -> int:
        return -(-self._images // self._batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        first = index * self._batch_size
        places = np.arange(first, min(first + self._batch_size, self._images))
        chosen = np.minimum(places, len(self._x) - 1)
        weights = np.where(places < len(self._x), self._weight, 0).astype("float32")
        return _part((self._x[chosen], self._y[chosen], weights), self._parts, self._part)


def _round_up(count, multiple_of):
    return -(-count // multiple_of) * multiple_of


def _part(arrays, parts, part):
    size = len(arrays[0]) // parts
    return tuple(array[part * size : (part + 1) * size] for array in arrays)

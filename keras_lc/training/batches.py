"""Batches of arrays. Their order is the same under every backend."""

import numbers
from typing import Any

import keras
import numpy as np

from keras_lc.seeds import derive_seed
from keras_lc.types import Array


class ShuffledBatches(keras.utils.PyDataset):
    """Batches of images in a new order for each pass, without the last partial batch.

    The passes form one stream, and each epoch takes its steps from the stream. If an epoch ends
    within a pass, the next epoch continues there. The order depends only on the seed and the
    pass, so a resumed run gets the same batches as a run without interruption. (Keras shuffles
    arrays differently under each backend, and keeps the partial batch.)

    The `fit` of this library's models tells `ShuffledBatches` the current epoch, even if
    `keras.callbacks.BackupAndRestore` sets it. For other models, it counts the epochs of `fit`
    from `first_epoch`.

    Args:
        x, y: Arrays of equal length.
        batch_size: Integer, at most the length of `x`.
        sample_weight: Array with the length of `x`, or `None`.
        seed: Integer.
        first_epoch: Integer, the first epoch.
        shuffle: Boolean, whether to shuffle the images.
        steps_per_epoch: Integer, the number of batches in an epoch. Defaults to the batches of a
            pass. Keras' `fit` reads it here, so do not pass it to `fit` too.

    Attributes:
        epoch: Integer, the current epoch.

    Example:

    >>> images, labels = np.zeros((10, 8, 8, 3), "uint8"), np.arange(10)
    >>> len(keras_lc.training.ShuffledBatches(images, labels, batch_size=4, seed=0))
    2
    """

    def __init__(
        self,
        x: Array,
        y: Array,
        batch_size: int,
        *,
        sample_weight: Array | None = None,
        seed: int = 0,
        first_epoch: int = 0,
        shuffle: bool = True,
        steps_per_epoch: int | None = None,
    ):
        super().__init__()
        if not _is_count(batch_size) or batch_size > len(x):
            raise ValueError(
                f"`batch_size` must be from 1 to the number of images, {len(x)}. "
                f"Received: batch_size={batch_size!r}"
            )
        if steps_per_epoch is not None and not _is_count(steps_per_epoch):
            raise ValueError(
                "`steps_per_epoch` must be an integer of at least 1, or None. "
                f"Received: steps_per_epoch={steps_per_epoch!r}"
            )
        arrays = (x, y) if sample_weight is None else (x, y, sample_weight)
        self._arrays = tuple(keras.ops.convert_to_numpy(array) for array in arrays)
        for name, array in zip(("y", "sample_weight"), self._arrays[1:], strict=False):
            if len(array) != len(x):
                raise ValueError(
                    f"`{name}` must be as long as `x`, with one value for each of {len(x)} images. "
                    f"Received: {len(array)}"
                )
        self.batch_size = batch_size
        self.epoch = first_epoch
        self._is_in_fit = False
        self._seed = seed
        self._shuffle = shuffle
        self._batches_per_pass = len(x) // batch_size
        self._steps = steps_per_epoch or self._batches_per_pass
        self._drawn = (None, None)

    def _order(self, number):
        """Returns the indices of the images in the order of a pass."""
        count = len(self._arrays[0])
        if not self._shuffle:
            return np.arange(count)
        drawn, order = self._drawn
        if drawn != number:
            # Sort raw bits: the stream of NumPy's permutation may change between versions.
            keys = np.random.Philox(key=derive_seed(self._seed, f"epoch{number + 1}"))
            order = np.argsort(keys.random_raw(count), kind="stable")
            # In one assignment, because TensorFlow's threads read it too.
            self._drawn = (number, order)
        return order

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        number, place = divmod(self.epoch * self._steps + index, self._batches_per_pass)
        chosen = self._order(number)[place * self.batch_size : (place + 1) * self.batch_size]
        return tuple(array[chosen] for array in self._arrays)

    def start_epoch(self, epoch: int) -> None:
        """Switches to the batches of this epoch."""
        self.epoch = epoch
        self._is_in_fit = True

    def on_epoch_end(self) -> None:
        # Keras' `fit` also calls it once before the first epoch.
        if self._is_in_fit:
            self.epoch += 1
        self._is_in_fit = True


class FollowEpochs(keras.callbacks.Callback):
    """Tells `ShuffledBatches` the current epoch of `fit`. Keras tells only callbacks.

    Args:
        batches: `ShuffledBatches`, or another object with `epoch` and `start_epoch`.
        initial_epoch: Integer, the `initial_epoch` of `fit`. The batches start at their own epoch.
    """

    def __init__(self, batches: Any, initial_epoch: int = 0):
        super().__init__()
        self._batches = batches
        self._ahead = batches.epoch - initial_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches.start_epoch(epoch + self._ahead)


def _is_count(number):
    return isinstance(number, numbers.Integral) and not isinstance(number, bool) and number >= 1

"""Arrays in batches, in an order that is the same under every backend."""

import numbers
from typing import Any

import keras
import numpy as np

from keras_lc.seeds import derive_seed
from keras_lc.types import Array


class ShuffledBatches(keras.utils.PyDataset):
    """Batches of images in a new order every pass, without the last partial batch.

    The passes make one stream, from which each epoch takes its steps: where an epoch ends within
    a pass, the next one goes on there. The order is a function of the seed and the pass, so a run
    that is resumed at an epoch sees the batches that it would have seen. (Keras shuffles arrays in
    another way under each backend, and keeps the partial batch.)

    `fit` of this library's models tells it which epoch begins, also where
    `keras.callbacks.BackupAndRestore` chose that. For other models, it counts the epochs of `fit`
    from `first_epoch`.

    Args:
        x, y: Arrays, of equal length.
        batch_size: Integer, at most that length.
        sample_weight: Array of that length, or `None`.
        seed: Integer.
        first_epoch: Integer, the epoch that comes first.
        shuffle: Boolean; `False` takes the images in their order.
        steps_per_epoch: Integer, the batches of an epoch. Defaults to those of a pass. Keras'
            `fit` finds it here, and must not be given it too.

    Attributes:
        epoch: Integer, the epoch whose batches it gives.

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
                    f"`{name}` must be as long as `x`, one for each of {len(x)} images. "
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
        """Returns the images of a pass, in its order."""
        count = len(self._arrays[0])
        if not self._shuffle:
            return np.arange(count)
        drawn, order = self._drawn
        if drawn != number:
            # Sorting raw bits rather than NumPy's permutation, whose stream may change.
            keys = np.random.Philox(key=derive_seed(self._seed, f"epoch{number + 1}"))
            order = np.argsort(keys.random_raw(count), kind="stable")
            # In one assignment, since threads of TensorFlow ask too.
            self._drawn = (number, order)
        return order

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, index: int) -> tuple[np.ndarray, ...]:
        number, place = divmod(self.epoch * self._steps + index, self._batches_per_pass)
        chosen = self._order(number)[place * self.batch_size : (place + 1) * self.batch_size]
        return tuple(array[chosen] for array in self._arrays)

    def start_epoch(self, epoch: int) -> None:
        """Gives the batches of this epoch from now on."""
        self.epoch = epoch
        self._is_in_fit = True

    def on_epoch_end(self) -> None:
        # Keras' `fit` calls it once before the first epoch too.
        if self._is_in_fit:
            self.epoch += 1
        self._is_in_fit = True


class FollowEpochs(keras.callbacks.Callback):
    """Tells `ShuffledBatches` the epoch that `fit` is in, which Keras tells callbacks only.

    Args:
        batches: `ShuffledBatches`, or what has its `epoch` and `start_epoch`.
        initial_epoch: Integer, that of `fit`. In it, the batches go on with their own epoch.
    """

    def __init__(self, batches: Any, initial_epoch: int = 0):
        super().__init__()
        self._batches = batches
        self._ahead = batches.epoch - initial_epoch

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self._batches.start_epoch(epoch + self._ahead)


def _is_count(number):
    return isinstance(number, numbers.Integral) and not isinstance(number, bool) and number >= 1

"""Arrays in batches, in an order that is the same under every backend."""

import keras
import numpy as np

from keras_lc.layers.random_basis import derive_seed


class ShuffledBatches(keras.utils.PyDataset):
    """Batches of images in a new order every epoch, without the last partial batch.

    The order is a function of the seed and the epoch, so a run that is resumed at an epoch sees
    the batches that it would have seen. (Keras shuffles arrays in another way under each
    backend, and keeps the partial batch.)

    Args:
        x, y: Arrays, of equal length.
        batch_size: Integer, at most that length.
        sample_weight: Array of that length, or `None`.
        seed: Integer.
        first_epoch: Integer, the epoch that comes first.
        shuffle: Boolean; `False` takes the images in their order.

    Example:

    >>> images, labels = np.zeros((10, 8, 8, 3), "uint8"), np.arange(10)
    >>> len(keras_lc.training.ShuffledBatches(images, labels, batch_size=4, seed=0))
    2
    """

    def __init__(
        self, x, y, batch_size, *, sample_weight=None, seed=0, first_epoch=0, shuffle=True
    ):
        super().__init__()
        if not 1 <= batch_size <= len(x):
            raise ValueError(
                f"`batch_size` must be from 1 to the number of images, {len(x)}. "
                f"Received: batch_size={batch_size}"
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
        self._seed = seed
        self._shuffle = shuffle
        self._epoch = first_epoch
        self._order = self._draw_order()

    def _draw_order(self):
        count = len(self._arrays[0])
        if not self._shuffle:
            return np.arange(count)
        # Sorting raw bits rather than NumPy's permutation, whose stream may change.
        keys = np.random.Philox(key=derive_seed(self._seed, f"epoch{self._epoch}"))
        return np.argsort(keys.random_raw(count), kind="stable")

    def __len__(self):
        return len(self._arrays[0]) // self.batch_size

    def __getitem__(self, index):
        chosen = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        return tuple(array[chosen] for array in self._arrays)

    def on_epoch_end(self):
        self._epoch += 1
        self._order = self._draw_order()

"""CIFAR's augmentation inside the training step: a crop and a flip for each image."""

import numbers
from typing import Any

import keras
from keras import ops

from keras_lc.layers.axes import side_axes, standardize_data_format
from keras_lc.layers.per_image.seeded_random import SeededRandomLayer
from keras_lc.types import Shape, Tensor


@keras.saving.register_keras_serializable(package="keras_lc")
class RandomCropFlip(SeededRandomLayer):
    """Pads images with zeros, crops them at a random position, and flips some of them.

    This is the standard augmentation for CIFAR. Position and flip are drawn for each image, but
    only in training; at inference the layer returns its input. The random numbers depend only on
    `seed`, the number of batches so far and the image's index in its batch. They are the same
    under every backend. If training of a saved model continues, the random numbers continue too.
    The layer runs inside a compiled step under every backend. (`keras.layers.RandomCrop` crops a
    whole batch at the same position.) Do not use it in a `keras.RematScope`: the scope calls
    layers a second time for the gradient, and the second call would draw other numbers.

    Args:
        padding: Integer, the pixels of zeros added on each side.
        horizontal_flip: Boolean, whether half of the images are flipped left to right.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        seed: Integer, at least 0 and below 2^31. `None` draws a seed once.

    Input shape: 4D, `(batch, height, width, channels)` or `(batch, channels, height, width)`.

    Output shape: Same as the input shape.

    Example:

    >>> layer = keras_lc.RandomCropFlip(padding=4, seed=0)
    >>> images = np.random.uniform(0, 255, (8, 32, 32, 3))
    >>> layer(images, training=True).shape
    (8, 32, 32, 3)
    """

    def __init__(
        self,
        padding: int = 4,
        horizontal_flip: bool = True,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, **kwargs)
        if not isinstance(padding, numbers.Integral) or padding < 0:
            raise ValueError(
                f"`padding` must be a non-negative integer. Received: padding={padding!r}"
            )
        self.padding = int(padding)
        self.horizontal_flip = bool(horizontal_flip)
        self.data_format = standardize_data_format(data_format)

    def build(self, input_shape: Shape) -> None:
        self.input_spec = keras.InputSpec(ndim=4)
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training:
            return inputs
        rows_axis, columns_axis = side_axes(self.data_format)
        sizes = ops.shape(inputs)
        height, width = sizes[rows_axis], sizes[columns_axis]
        top, left, flip = self._draw(sizes[0])

        rows = top + ops.reshape(ops.arange(height, dtype="int32"), (1, height))
        columns = ops.reshape(ops.arange(width, dtype="int32"), (1, width))
        columns = left + ops.where(flip, width - 1 - columns, columns)

        pad = [(0, 0)] * 4
        pad[rows_axis] = pad[columns_axis] = (self.padding, self.padding)
        x = ops.pad(inputs, pad)
        # Both gathers along one axis each: two small copies, and no per-image loop.
        shape = [-1, 1, 1, 1]
        shape[rows_axis] = height
        x = ops.take_along_axis(x, ops.reshape(rows, shape), axis=rows_axis)
        shape = [-1, 1, 1, 1]
        shape[columns_axis] = width
        return ops.take_along_axis(x, ops.reshape(columns, shape), axis=columns_axis)

    def _draw(self, batch_size):
        """Returns top, left (0 … 2·padding) and flip, of shape `(batch, 1)` each."""
        drawn = self.draw_words(batch_size, 3)
        top, left, flip = ops.split(drawn, 3, axis=1)
        places = 2 * self.padding + 1
        # A 16-bit number times the number of places, without its low 16 bits: 0 … places - 1.
        top, left = ops.right_shift(top * places, 16), ops.right_shift(left * places, 16)
        flips = ops.equal(ops.bitwise_and(flip, 1), 1)
        return top, left, flips if self.horizontal_flip else ops.zeros_like(flips)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            padding=self.padding,
            horizontal_flip=self.horizontal_flip,
            data_format=self.data_format,
        )
        return config

"""The augmentation of photos inside the training step: a part of each image, enlarged."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_lc.layers.axes import side_axes, standardize_data_format
from keras_lc.layers.per_image.seeded_random import SeededRandomLayer
from keras_lc.types import Shape, Tensor

# All numbers are integers or exact in float32, so that all backends give the same images. Sides
# of parts have 12 bits after the point, and weights of pixels have 8.
_SIDE = 12
_WEIGHT = 8
# The areas and the ratios that can be drawn.
_CHOICES = 256


@keras.saving.register_keras_serializable(package="keras_lc")
class RandomResizedCropFlip(SeededRandomLayer):
    """Enlarges a random part of each image to the image's size, and flips some images.

    This is the standard augmentation for photos. Area, ratio and position of the part are drawn
    for each image, but only in training; at inference the layer returns its input. Pixels of the
    result are interpolated linearly. As in `keras_lc.RandomCropFlip`, the random numbers depend
    only on `seed`, the number of batches so far and the image's index in its batch. If training
    of a saved model continues, the random numbers continue too. Whole numbers from 0 to 255
    give the same results, to the last bit, under every backend. Do not use the layer in a
    `keras.RematScope`: the scope calls layers a second time for the gradient, and the second call
    would draw other numbers.

    Args:
        area: Pair of numbers from 0.001 to 1, the smallest and the largest area of a part, as
            shares of the image's. The default keeps more than is usual for ImageNet (0.08),
            because these images are already small.
        ratio: Pair of numbers from 0.01 to 100, the smallest and the largest width of a part
            divided by its height, where 1 is the image's own ratio. No part is larger than the
            image.
        horizontal_flip: Boolean, whether half of the images are flipped left to right.
        data_format: `"channels_last"` or `"channels_first"`. Defaults to Keras' setting.
        seed: Integer, at least 0 and below 2^31. `None` draws a seed once.

    Input shape: 4D, `(batch, height, width, channels)` or `(batch, channels, height, width)`, with
    fewer than 16,384 rows and columns.

    Output shape: Same as the input shape.

    Example:

    >>> layer = keras_lc.RandomResizedCropFlip(seed=0)
    >>> images = np.random.uniform(0, 255, (8, 96, 96, 3))
    >>> layer(images, training=True).shape
    (8, 96, 96, 3)

    Reference:

    - [Going Deeper with Convolutions](https://arxiv.org/abs/1409.4842), Section 6
    """

    def __init__(
        self,
        area: Sequence[float] = (0.25, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        horizontal_flip: bool = True,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(seed=seed, **kwargs)
        self.area = _interval("area", area, 0.001, 1)
        self.ratio = _interval("ratio", ratio, 0.01, 100)
        self.horizontal_flip = bool(horizontal_flip)
        self.data_format = standardize_data_format(data_format)

    def build(self, input_shape: Shape) -> None:
        self.input_spec = keras.InputSpec(ndim=4)
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training:
            return inputs
        sizes = ops.shape(inputs)
        axes = side_axes(self.data_format)
        height, width, top, left, flip = self._draw(sizes[0], sizes[axes[0]], sizes[axes[1]])
        # Not in half precision: the numbers below need 24 bits.
        x = ops.cast(inputs, "float32")
        x = _interpolate(x, axes[0], top, height, sizes[axes[0]], None)
        x = _interpolate(x, axes[1], left, width, sizes[axes[1]], flip)
        x = x / 2 ** (2 * _WEIGHT)
        is_float = keras.backend.is_float_dtype(inputs.dtype)
        return ops.cast(x if is_float else ops.round(x), inputs.dtype)

    def _draw(self, batch_size, height, width):
        """Returns height, width, top, left and flip of the parts, of shape `(batch, 1)` each."""
        drawn = self.draw_words(batch_size, 5)
        area, ratio, top, left, flip = ops.split(drawn, 5, axis=1)
        area, ratio = ops.right_shift(area, 8), ops.right_shift(ratio, 8)
        tall, wide = self._shares()
        shares = ops.take(tall[0], area) * ops.take(tall[1], ratio)
        part_height = _part(shares, height)
        shares = ops.take(wide[0], area) * ops.take(wide[1], ratio)
        part_width = _part(shares, width)
        # A 16-bit number times the number of places, without its low 16 bits.
        top = ops.right_shift(top * (height - part_height + 1), 16)
        left = ops.right_shift(left * (width - part_width + 1), 16)
        flips = ops.equal(ops.bitwise_and(flip, 1), 1)
        flips = flips if self.horizontal_flip else ops.zeros_like(flips)
        return part_height, part_width, top, left, flips

    def _shares(self):
        """Returns two factors of the parts' heights, and two of their widths."""
        steps = np.arange(_CHOICES) / (_CHOICES - 1)
        area = np.sqrt(self.area[0] + (self.area[1] - self.area[0]) * steps)
        # Equally often twice as wide as twice as tall.
        low, high = np.log(self.ratio)
        ratio = np.exp((low + (high - low) * steps) / 2)
        area, wide, tall = (
            np.round(values * 2**_SIDE).astype("int32") for values in (area, ratio, 1 / ratio)
        )
        return (area, tall), (area, wide)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        config.update(
            area=self.area,
            ratio=self.ratio,
            horizontal_flip=self.horizontal_flip,
            data_format=self.data_format,
        )
        return config


def _interval(name, values, least, most):
    numbers = isinstance(values, Sequence) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )
    if not numbers or len(values) != 2 or not least <= values[0] <= values[1] <= most:
        raise ValueError(
            f"`{name}` must be two numbers from {least} to {most}, the smaller one first. "
            f"Received: {name}={values!r}"
        )
    return tuple(map(float, values))


def _part(shares, size):
    """Returns the side of a part in pixels, from 1 to `size`."""
    side = ops.right_shift(ops.right_shift(shares, _SIDE) * size + 2 ** (_SIDE - 1), _SIDE)
    return ops.minimum(ops.maximum(side, 1), size)


def _interpolate(x, axis, begin, extent, size, flip):
    """Enlarges a part of each image along one axis to the whole axis.

    The results are `2**_WEIGHT` times as large.
    """
    places = ops.reshape(ops.arange(size, dtype="int32"), (1, size))
    if flip is not None:
        places = ops.where(flip, size - 1 - places, places)
    # The centre of each pixel, in parts of `2 * size` pixels of the image, but not beyond the
    # centres of the part's first and last pixel.
    centres = (2 * places + 1) * extent - size
    centres = ops.minimum(ops.maximum(centres, 0), (extent - 1) * (2 * size))
    first = centres // (2 * size)
    weight = ((centres - first * (2 * size)) * 2**_WEIGHT) // (2 * size)
    second = begin + ops.minimum(first + 1, extent - 1)
    shape = [-1, 1, 1, 1]
    shape[axis] = size
    near = ops.take_along_axis(x, ops.reshape(begin + first, shape), axis=axis)
    far = ops.take_along_axis(x, ops.reshape(second, shape), axis=axis)
    weight = ops.cast(ops.reshape(weight, shape), "float32")
    return near * (2**_WEIGHT - weight) + far * weight

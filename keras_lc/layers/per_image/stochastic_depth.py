"""Stochastic depth: drops a residual branch for some images of a batch."""

from typing import Any

import keras
from keras import ops

from keras_lc.layers.per_image.seeded_random import SeededRandomLayer
from keras_lc.types import Tensor

_WORDS = 2**16


@keras.saving.register_keras_serializable(package="keras_lc")
class StochasticDepth(SeededRandomLayer):
    """Sets some images of a batch to zero, and scales up the others to compensate.

    At the end of a residual branch, it drops the branch for these images. The layer draws at
    random for each image, but only in training; at inference it returns its input. As in
    `keras_lc.RandomCropFlip`, the random numbers depend only on `seed`, the number of batches so
    far and the image's index in its batch. They are the same under every backend. If training of
    a saved model continues, the random numbers continue too. Do not use the layer in a
    `keras.RematScope`: the scope calls layers a second time for the gradient, and the second call
    would draw other numbers.

    Args:
        rate: Number, the share of images that are set to zero, at least 0 and below 1. The
            others are multiplied by `1 / (1 - rate)`.
        seed: Integer, at least 0 and below 2^31. `None` draws a seed once.

    Input shape: Any, with the images along the first axis.

    Output shape: Same as the input shape.

    Example:

    >>> layer = keras_lc.layers.StochasticDepth(0.5, seed=0)
    >>> y = layer(np.ones((8, 4, 4, 3)), training=True)
    >>> sorted({float(value) for value in keras.ops.convert_to_numpy(y).ravel()})
    [0.0, 2.0]

    Reference:

    - [Deep Networks with Stochastic Depth](https://arxiv.org/abs/1603.09382)
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any):
        super().__init__(seed=seed, **kwargs)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
            raise ValueError(f"`rate` must be at least 0 and below 1. Received: rate={rate!r}")
        self.rate = float(rate)
        self.built = True

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        if not training or self.rate == 0:
            return inputs
        words = self.draw_words(ops.shape(inputs)[0], 1)
        words = ops.reshape(words, (-1,) + (1,) * (len(inputs.shape) - 1))
        kept = ops.cast(words >= round(self.rate * _WORDS), inputs.dtype)
        return inputs * (kept / (1 - self.rate))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rate": self.rate}

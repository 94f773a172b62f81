"""Stochastic depth: a residual branch that is left out for some images of a batch."""

from typing import Any

import keras
from keras import ops

from keras_lc.layers.per_image.seeded_random import SeededRandomLayer
from keras_lc.types import Tensor

_WORDS = 2**16


@keras.saving.register_keras_serializable(package="keras_lc")
class StochasticDepth(SeededRandomLayer):
    """Sets a share of the images of a batch to zero, and scales the others up to make up for it.

    At the end of a residual branch, it leaves out the branch. Which images is drawn for each of
    them, in training only; at inference the layer returns its input. As in
    `keras_lc.RandomCropFlip`, the random numbers are a function of `seed`, of the number of
    batches seen and of the image's place in its batch: the same under every backend, and
    continued where they were when a saved model is trained on. Not within a `keras.RematScope`,
    which calls layers a second time for the gradient: the second call would draw other numbers.

    Args:
        rate: Number, the share of the images that are set to zero: at least 0 and below 1. The
            others are multiplied by `1 / (1 - rate)`.
        seed: Integer, at least 0 and below 2^31. `None` draws one, once.

    Input shape: any, with the images along the first axis.

    Output shape: as the input's.

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

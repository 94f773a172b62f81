"""RandAugment with the image operations of keras-cv: the only module that uses this package.

This module draws the random numbers, and keras-cv transforms the images with them. keras-cv's own
random generators have a state: images that are processed in parallel would get different numbers
in every run. The operations and their strengths are timm's `rand-m7-mstd0.5-inc1`, because recipe
A2 was developed with it. keras-cv's `RandAugment` has fewer operations, and shears three times as
far.
"""

import math

import keras_cv
import tensorflow as tf
from keras_cv.src.backend.scope import TFDataScope

_PIXELS = (0, 255)
_ROUNDS = 2
_RATE = 0.5
_DEVIATION = 0.05
# Pixels that a shift or rotation uncovers get the mean value of ImageNet.
_FILL = {"fill_mode": "constant", "fill_value": 114.0}


class RandAugment:
    """Two random operations, each with a probability of one half, on one image.

    Args:
        magnitude: Float from 0 to 1, the mean strength of the operations. Each operation draws its
            own strength, with a standard deviation of 0.05.

    Reference:

    - [RandAugment](https://arxiv.org/abs/1909.13719)
    - [ResNet strikes back](https://arxiv.org/abs/2110.00476), Section 4
    """

    def __init__(self, magnitude: float):
        if not 0 <= magnitude <= 1:
            raise ValueError(f"`magnitude` must be from 0 to 1. Received: magnitude={magnitude}")
        self.magnitude = magnitude
        self._operations = list(operations().values())

    def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Transforms a float32 image of pixel values; `seed` holds two integers."""
        batch = image[tf.newaxis]
        for own in tf.unstack(tf.random.split(seed, _ROUNDS)):
            batch = self._maybe(batch, own)
        return batch[0]

    def _maybe(self, batch, seed):
        applied, chosen, strength, sign = tf.unstack(tf.random.split(seed, 4))
        number = tf.random.stateless_uniform(
            [], chosen, maxval=len(self._operations), dtype=tf.int32
        )
        level = self.magnitude + _DEVIATION * tf.random.stateless_normal([], strength)
        level = tf.clip_by_value(level, 0.0, 1.0)
        signed = tf.where(tf.random.stateless_uniform([], sign) < 0.5, level, -level)
        return tf.cond(
            tf.random.stateless_uniform([], applied) < _RATE,
            lambda: tf.switch_case(
                number, [_curried(f, batch, level, signed) for f in self._operations]
            ),
            lambda: batch,
        )


def _curried(operation, batch, level, signed):
    # A lambda in the loop itself would use the loop's last value in every branch.
    return lambda: tf.ensure_shape(operation(batch, level, signed), batch.shape)


def operations():
    """Returns the operations by name: functions of a batch, a level in [0, 1], and the same
    level with a random sign."""
    layers = keras_cv.layers
    auto_contrast = layers.AutoContrast(_PIXELS)
    # In a `tf.function`, because only AutoGraph understands an `if` in this layer.
    equalize = tf.function(layers.Equalization(_PIXELS).augment_images)
    solarize = layers.Solarization(_PIXELS)
    color = layers.RandomColorDegeneration(1.0)
    contrast = layers.RandomContrast(_PIXELS, 1.0)
    sharpness = layers.RandomSharpness(1.0, _PIXELS)
    rotate = layers.RandomRotation(1.0, **_FILL)
    shear = layers.RandomShear(1.0, 1.0, **_FILL)
    translate = layers.RandomTranslation(1.0, 1.0, **_FILL)

    def solarized(batch, threshold):
        chosen = {"thresholds": threshold, "additions": 0.0}
        return solarize.augment_images(batch, transformations=chosen)

    def rotated(batch, level, signed):
        angles = {"angles": tf.reshape(signed * math.radians(30), [1])}
        # As in the layer's own call. Otherwise it would expect a tensor of Keras' backend.
        with TFDataScope():
            return rotate.augment_images(batch, transformations=angles)

    def posterized(batch, level, signed):
        # 4 bits or fewer. keras-cv's layer has one number of bits for all images.
        step = tf.pow(2.0, 4.0 + tf.floor(4 * level))
        return tf.floor(batch / step) * step

    def brightened(batch, level, signed):
        # keras-cv's layer adds a constant; that is another operation.
        return tf.clip_by_value(batch * (1 + 0.9 * signed), *map(float, _PIXELS))

    def sheared(batch, x=None, y=None):
        amounts = {
            "shear_x": None if x is None else tf.reshape(x, [1, 1]),
            "shear_y": None if y is None else tf.reshape(y, [1, 1]),
        }
        return shear.augment_images(batch, transformations=amounts)

    def translated(batch, x=0.0, y=0.0):
        amounts = {
            "width_translations": tf.reshape(x, [1, 1]),
            "height_translations": tf.reshape(y, [1, 1]),
        }
        return translate.augment_images(batch, transformations=amounts)

    return {
        "auto_contrast": lambda x, level, signed: auto_contrast.augment_images(x),
        "equalize": lambda x, level, signed: equalize(x),
        "invert": lambda x, level, signed: solarized(x, 0.0),
        "rotate": rotated,
        "posterize": posterized,
        "solarize": lambda x, level, signed: solarized(x, 256 - tf.floor(256 * level)),
        "solarize_add": lambda x, level, signed: tf.where(
            x < 128, tf.minimum(x + tf.floor(110 * level), 255), x
        ),
        # 0 keeps the image, 1 removes its colour (its sharpness), below 0 increases it.
        "color": lambda x, level, signed: color.augment_images(x, transformations=0.9 * signed),
        "contrast": lambda x, level, signed: contrast.augment_images(
            x, transformations=1 + 0.9 * signed
        ),
        "brightness": brightened,
        "sharpness": lambda x, level, signed: sharpness.augment_images(
            x, transformations=0.9 * signed
        ),
        "shear_x": lambda x, level, signed: sheared(x, x=0.3 * signed),
        "shear_y": lambda x, level, signed: sheared(x, y=0.3 * signed),
        "translate_x": lambda x, level, signed: translated(x, x=0.45 * signed),
        "translate_y": lambda x, level, signed: translated(x, y=0.45 * signed),
    }

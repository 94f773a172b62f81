"""Decoding, cropping and mixing: functions of tensors and a seed, without state."""

import io
import math

import numpy as np
import tensorflow as tf

from keras_lc.data import picture

# Share of the image's area, and width / height: the usual values, from Inception.
_CROP_AREA = (0.08, 1.0)
_CROP_ASPECT = (3 / 4, 4 / 3)
# The same of the boxes that are erased, from timm.
_ERASED_AREA = (0.02, 1 / 3)
_ERASED_ASPECT = (0.3, 1 / 0.3)
# ImageNet's, in pixel values.
_MEAN = 255 * np.array((0.485, 0.456, 0.406), "float32")
_STD = 255 * np.array((0.229, 0.224, 0.225), "float32")


def random_resized_crop(encoded: tf.Tensor, size: int, seed: tf.Tensor) -> tf.Tensor:
    """Decodes a random part of an image, and resizes it to `size` × `size` pixels.

    Size and shape of the part are random too.

    Args:
        encoded: Scalar string, an image in any format of `keras_lc.data.picture`. JPEG images are
            decoded only in this part.
        size: Integer, in pixels.
        seed: Tensor of two integers.

    Returns:
        A uint8 tensor `(size, size, 3)`.
    """

    def window(shape):
        begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            tf.zeros([0, 0, 4]),
            seed,
            min_object_covered=0.0,
            area_range=_CROP_AREA,
            aspect_ratio_range=_CROP_ASPECT,
            use_image_if_no_bounding_boxes=True,
        )
        return begin[0], begin[1], extent[0], extent[1]

    def from_jpeg():
        part = tf.stack(window(tf.image.extract_jpeg_shape(encoded)))
        return tf.image.decode_and_crop_jpeg(encoded, part, channels=3)

    def from_others():
        image = decode(encoded)
        top, left, height, width = window(tf.shape(image))
        return image[top : top + height, left : left + width]

    return _resize(tf.cond(_is_plain_jpeg(encoded), from_jpeg, from_others), (size, size))


def central_crop(encoded: tf.Tensor, size: int, ratio: float) -> tf.Tensor:
    """Decodes an image, resizes its shorter side to `size / ratio` and cuts out the centre.

    Args:
        encoded: As in `random_resized_crop`.
        size: Integer, in pixels.
        ratio: Float, the share of the shorter side that remains.

    Returns:
        A uint8 tensor `(size, size, 3)`.
    """
    image = decode(encoded)
    shape = tf.shape(image)[:2]
    shorter = math.floor(size / ratio)
    # In integers, so that the longer side does not depend on the rounding of a quotient.
    resized = _resize(image, shorter * shape // tf.reduce_min(shape))
    top, left = tf.unstack(tf.cast(tf.round((tf.shape(resized)[:2] - size) / 2), tf.int32))
    return tf.ensure_shape(resized[top : top + size, left : left + size], [size, size, 3])


def decode(encoded: tf.Tensor) -> tf.Tensor:
    """Decodes an image to uint8 `(height, width, 3)`, like `keras_lc.data.picture.decode`."""
    return tf.cond(
        _is_plain_jpeg(encoded),
        lambda: tf.image.decode_jpeg(encoded, channels=3),
        lambda: _decode_with_pillow(encoded),
    )


def _is_plain_jpeg(encoded):
    """Whether TensorFlow alone, without Python, decodes it as an image viewer shows it."""

    def is_plain():
        pixels = tf.reduce_prod(tf.image.extract_jpeg_shape(encoded, tf.int64)[:2])
        return (pixels <= picture.MAX_PIXELS) & ~_in_python(_is_turned, encoded, tf.bool)

    return tf.cond(tf.image.is_jpeg(encoded), is_plain, lambda: False)


def _is_turned(encoded):
    return picture.is_turned(io.BytesIO(encoded))


def _decode_with_pillow(encoded):
    def decode(content):
        pixels = picture.decode(io.BytesIO(content), "The picture")
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))

    return tf.ensure_shape(_in_python(decode, encoded, tf.uint8), [None, None, 3])


def _in_python(function, encoded, dtype):
    # TensorFlow passes bytes inside a graph, and an array outside.
    return tf.numpy_function(lambda e: function(np.asarray(e, object).item()), [encoded], dtype)


def _resize(image, shape):
    # Antialiased like Pillow, which the papers used for training.
    resized = tf.image.resize(image, shape, method="bicubic", antialias=True)
    return to_pixels(tf.ensure_shape(resized, [*resized.shape[:2], 3]))


def to_pixels(values: tf.Tensor) -> tf.Tensor:
    """Rounds to uint8."""
    return tf.cast(tf.round(tf.clip_by_value(values, 0.0, 255.0)), tf.uint8)


def random_flip(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors an image with a probability of one half."""
    return tf.image.stateless_random_flip_left_right(image, seed)


def random_erasing(image: tf.Tensor, rate: float, seed: tf.Tensor) -> tf.Tensor:
    """Covers a random box of some images with noise, as timm does.

    The noise of each pixel is normal, with ImageNet's mean and deviation. Values that are no pixel
    values are clipped.

    Args:
        image: uint8 tensor `(height, width, 3)`.
        rate: Float, the share of images with a box.
        seed: Tensor of two integers.

    Reference:

    - [Random Erasing](https://arxiv.org/abs/1708.04896)
    """
    chosen, area, aspect, place, noise = tf.unstack(tf.random.split(seed, 5))
    height, width = image.shape[:2]
    share = tf.random.stateless_uniform([], area, *_ERASED_AREA)
    ratio = tf.exp(tf.random.stateless_uniform([], aspect, *np.log(_ERASED_ASPECT)))
    inside = tf.random.stateless_uniform([2], place)

    def extent(size, side, start):
        length = tf.minimum(tf.cast(tf.round(side), tf.int32), size - 1)
        first = tf.cast(tf.floor(start * tf.cast(size - length + 1, tf.float32)), tf.int32)
        return (tf.range(size) >= first) & (tf.range(size) < first + length)

    side = tf.sqrt(share * height * width)
    rows = extent(height, side * tf.sqrt(ratio), inside[0])
    columns = extent(width, side / tf.sqrt(ratio), inside[1])
    covered = rows[:, tf.newaxis, tf.newaxis] & columns[tf.newaxis, :, tf.newaxis]
    normal = tf.random.stateless_normal(image.shape, noise)
    covered &= tf.random.stateless_uniform([], chosen) < rate
    return tf.where(covered, to_pixels(_MEAN + _STD * normal), image)


def mix(images, labels, mixup: float, cutmix: float, seed):
    """Mixes every image of a batch with its counterpart from the end, with Mixup or CutMix.

    As in timm, a random draw chooses the method for the whole batch, and one share for all its
    images. The share of the pixels mixes the labels. If a box of CutMix crosses the border, only
    its inner part counts.

    Args:
        images: uint8 tensor `(batch, height, width, channels)`.
        labels: Float tensor `(batch, classes)`.
        mixup, cutmix: Floats, the parameters α of the share's distribution, Beta(α, α). 0 turns
            the method off.
        seed: Tensor of two integers.

    Returns:
        Images and labels, of the same shapes and types.

    Reference:

    - [mixup](https://arxiv.org/abs/1710.09412)
    - [CutMix](https://arxiv.org/abs/1905.04899)
    """
    if not mixup and not cutmix:
        return images, labels
    which, share, place = tf.unstack(tf.random.split(seed, 3))
    height, width = images.shape[1:3]

    def by_mixup():
        kept = _beta(mixup, share)
        return tf.fill([height, width], kept), kept

    def by_cutmix():
        covered = _box(height, width, 1 - _beta(cutmix, share), place)
        kept = 1 - tf.cast(covered, tf.float32)
        return kept, tf.reduce_mean(kept)

    if not cutmix:
        weights, kept = by_mixup()
    elif not mixup:
        weights, kept = by_cutmix()
    else:
        weights, kept = tf.cond(tf.random.stateless_uniform([], which) < 0.5, by_mixup, by_cutmix)
    weights = weights[..., tf.newaxis]
    values = tf.cast(images, tf.float32)
    mixed = weights * values + (1 - weights) * tf.reverse(values, [0])
    return to_pixels(mixed), kept * labels + (1 - kept) * tf.reverse(labels, [0])


def _beta(alpha, seed):
    # In float64: with a small α, numbers can be 0 in float32, and sometimes both are.
    draws = tf.random.stateless_gamma([2], seed, tf.constant(alpha, tf.float64), dtype=tf.float64)
    return tf.cast(draws[0] / tf.reduce_sum(draws), tf.float32)


def _box(height, width, area, seed):
    """Returns a mask: a box of this share of the area around a random pixel, cut at the borders."""

    def extent(size, own):
        centre = tf.random.stateless_uniform([], own, maxval=size, dtype=tf.int32)
        half = tf.cast(tf.sqrt(area) * size, tf.int32) // 2
        positions = tf.range(size)
        return (positions >= centre - half) & (positions < centre + half)

    rows, columns = tf.unstack(tf.random.split(seed, 2))
    return extent(height, rows)[:, tf.newaxis] & extent(width, columns)[tf.newaxis]

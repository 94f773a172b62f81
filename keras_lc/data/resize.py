"""Resizes arrays of images."""

import numpy as np

from keras_lc.data.optional import require


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Resizes images to squares with Pillow's bilinear interpolation.

    Args:
        images: `(n, height, width, channels)`, uint8, with one or three channels.
        size: Height and width of the result, in pixels.

    Returns:
        The resized images, `(n, size, size, channels)`, uint8. If `images` already have this
        size, they are returned unchanged.

    Raises:
        ImportError: If Pillow is not installed.
    """
    if images.shape[1:3] == (size, size):
        return images
    pillow = require("PIL.Image")
    resized = np.empty((len(images), size, size, images.shape[-1]), np.uint8)
    for source, target in zip(images, resized, strict=True):
        # Pillow has no axis for a single channel.
        image = pillow.fromarray(source.squeeze(-1) if source.shape[-1] == 1 else source)
        image = image.resize((size, size), pillow.Resampling.BILINEAR)
        target[...] = np.asarray(image).reshape(target.shape)
    return resized

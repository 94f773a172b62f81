"""Resizes arrays of images. All resizing is antialiased."""

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


def square(images: np.ndarray, size: int) -> np.ndarray:
    """Brings images to one size: the shorter side to `size`, and then the centre.

    Args:
        images: `(n, height, width, channels)`, uint8, with one or three channels.
        size: Height and width of the result, in pixels.

    Returns:
        The images, `(n, size, size, channels)`, uint8.

    Raises:
        ImportError: If Pillow is not installed.
    """
    height, width = images.shape[1:3]
    side = min(height, width)
    # Cut before resizing, so that only the square counts, as in `keras.layers.Resizing`.
    top, left = (height - side) // 2, (width - side) // 2
    return resize(images[:, top : top + side, left : left + side], size)

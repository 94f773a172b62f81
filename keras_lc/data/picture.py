"""Decodes one picture as a viewer shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from keras_lc.data.optional import require

#: The allowed endings of pictures, in upper or lower case.
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
#: The most pixels of a picture. It is below Pillow's limit against decompression bombs.
MAX_PIXELS = 2**26

_GRAY = ("1", "L", "LA")
# Modes with at most 8 bits per channel. Pillow would clip deeper ones to white.
_MODES = (*_GRAY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
# The EXIF tag, and the operation that undoes each of its values.
_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
    7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip


def decode(file: str | BinaryIO, name: str) -> np.ndarray:
    """Decodes a picture as a viewer shows it.

    The EXIF data rotate and mirror the picture. Transparent parts get a white background. If
    there are several frames or pages, the first one is used.

    Args:
        file: Path, or a file that is open for reading.
        name: The picture's name in error messages.

    Returns:
        uint8 array `(height, width, channels)`. Grey or black and white pictures have one
        channel, with or without transparency. All other pictures have three, also each picture
        with a palette.

    Raises:
        ValueError: If the picture is missing, truncated or damaged. If it has more than
            `MAX_PIXELS` pixels (checked before decoding) or more than 8 bits per channel.
        ImportError: If Pillow is not installed.
    """
    pillow = require("PIL.Image")
    try:
        with pillow.open(file) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise ValueError(f"{width} x {height} pixels, more than {MAX_PIXELS:,}")
            image.load()
            turn = _turn(image)
    # Pillow's decoders raise many errors for damaged files: OSError, SyntaxError, struct.error, …
    except Exception as error:
        raise ValueError(f"{name} is truncated or damaged: {error}") from error
    if image.mode not in _MODES:
        raise ValueError(
            f"{name} must have 8 bits per channel, so convert it. Received: mode {image.mode!r}"
        )
    if turn:
        image = image.transpose(pillow.Transpose[turn])
    mode = "L" if image.mode in _GRAY else "RGB"
    if image.has_transparency_data:
        white = pillow.new("RGBA", image.size, "white")
        image = pillow.alpha_composite(white, image.convert("RGBA"))
    pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def to_gray(image: np.ndarray) -> np.ndarray:
    """Returns a picture of three channels as one of one channel, uint8 `(height, width, 1)`."""
    return np.asarray(require("PIL.Image").fromarray(image).convert("L"))[..., np.newaxis]


def is_turned(file: BinaryIO) -> bool:
    """Returns whether the EXIF data rotate or mirror a picture. Does not decode it."""
    with require("PIL.Image").open(file) as image:
        return _turn(image) is not None


def _turn(image) -> str | None:
    # Not `ImageOps.exif_transpose`: it fails if other EXIF data are damaged.
    return _TURNS.get(image.getexif().get(_ORIENTATION))


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Makes Pillow reject truncated images, even if another package has allowed them."""
    image_file = require("PIL.ImageFile")
    before = image_file.LOAD_TRUNCATED_IMAGES
    image_file.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        image_file.LOAD_TRUNCATED_IMAGES = before

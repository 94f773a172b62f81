"""One picture, decoded to what a viewer shows."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from keras_lc.data.optional import require

#: What pictures may be called, in any case.
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff")
#: The most pixels of a picture: below Pillow's own limit, above which a few bytes may be a bomb.
MAX_PIXELS = 2**26

_GRAY = ("1", "L", "LA")
# Modes with at most 8 bits per channel: deeper ones would be clipped to white.
_MODES = (*_GRAY, "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
# The tag of EXIF, and what undoes each value of it.
_ORIENTATION = 0x0112
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
    7: "TRANSVERSE", 8: "ROTATE_90",
}  # fmt: skip


def decode(file: str | BinaryIO, name: str) -> np.ndarray:
    """Decodes a picture as a viewer shows it.

    It is turned and mirrored as its EXIF data say, and what is transparent is laid on white. Of
    several frames or pages it is the first.

    Args:
        file: Path, or a file that is open for reading.
        name: The picture's name in error messages.

    Returns:
        uint8 array `(height, width, channels)`. Pictures in shades of grey, black and white ones
        among them, have one channel, with or without transparency. All others have three, those
        with a palette among them, whatever colours are in it.

    Raises:
        ValueError: If the picture is missing, truncated or damaged, has more than `MAX_PIXELS`
            pixels (found out before it is decoded) or more than 8 bits per channel.
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
    # Pillow raises what each decoder stumbles on: OSError, SyntaxError, struct.error, …
    except Exception as error:
        raise ValueError(f"{name} is truncated or damaged: {error}") from error
    if image.mode not in _MODES:
        raise ValueError(f"{name} must have 8 bits per channel. Received: mode {image.mode!r}")
    if turn:
        image = image.transpose(pillow.Transpose[turn])
    mode = "L" if image.mode in _GRAY else "RGB"
    if image.has_transparency_data:
        white = pillow.new("RGBA", image.size, "white")
        image = pillow.alpha_composite(white, image.convert("RGBA"))
    pixels = np.asarray(image.convert(mode))
    return pixels.reshape(*pixels.shape[:2], -1)


def is_turned(file: BinaryIO) -> bool:
    """Returns whether the EXIF data of a picture turn or mirror it, without decoding it."""
    with require("PIL.Image").open(file) as image:
        return _turn(image) is not None


def _turn(image) -> str | None:
    # Not `ImageOps.exif_transpose`, which fails where other EXIF data are damaged.
    return _TURNS.get(image.getexif().get(_ORIENTATION))


@contextmanager
def strict_pillow() -> Iterator[None]:
    """Makes Pillow reject truncated images, whatever another package has told it."""
    image_file = require("PIL.ImageFile")
    before = image_file.LOAD_TRUNCATED_IMAGES
    image_file.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        image_file.LOAD_TRUNCATED_IMAGES = before

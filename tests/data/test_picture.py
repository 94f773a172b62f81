"""Pictures as a viewer shows them."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_lc.data import picture

pytestmark = pytest.mark.once


def encoded(image, format="PNG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    file.seek(0)
    return file


def noise(mode, seed=0, size=(7, 5)):
    channels = len(Image.new(mode, (1, 1)).getbands())
    shape = (size[1], size[0], channels) if channels > 1 else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), mode)


def decode(file):
    pixels = picture.decode(file, "it")
    assert pixels.dtype == np.uint8
    return pixels


# What the EXIF standard says of each value: where the first row and the first column are.
ORIENTATIONS = {
    1: lambda x: x,
    2: lambda x: x[:, ::-1],
    3: lambda x: x[::-1, ::-1],
    4: lambda x: x[::-1],
    5: lambda x: x.swapaxes(0, 1),
    6: lambda x: x[::-1].swapaxes(0, 1),
    7: lambda x: x[::-1, ::-1].swapaxes(0, 1),
    8: lambda x: x[:, ::-1].swapaxes(0, 1),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_is_turned_and_mirrored_as_its_exif_data_say(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if format == "WEBP" else {}
    stored = decode(encoded(noise("RGB"), format, **options))
    file = encoded(noise("RGB"), format, exif=exif, **options)
    assert picture.is_turned(file) == (orientation != 1)
    file.seek(0)
    np.testing.assert_array_equal(decode(file), ORIENTATIONS[orientation](stored))


HEADER = b"Exif\0\0MM\0*\0\0\0\x08"
DAMAGED = {
    "empty": b"Exif\0\0",
    "none": b"x",
    "cut": HEADER + b"\0\x01\x01\x12",
    "orientation 9": HEADER + b"\0\x01\x01\x12\0\x03\0\0\0\x01\0\x09\0\0\0\0\0\0",
    "orientation in words": HEADER + b"\0\x01\x01\x12\0\x02\0\0\0\x04top\0\0\0\0\0",
}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", DAMAGED.values(), ids=DAMAGED)
def test_damaged_exif_data_turn_nothing(exif):
    image = noise("L")
    file = encoded(image, "JPEG", exif=exif, quality=95)
    np.testing.assert_array_equal(decode(file), decode(encoded(image, "JPEG", quality=95)))


def on_white(color, alpha):
    share = np.asarray(alpha, float)[..., None] / 255
    return np.asarray(color, float) * share + 255 * (1 - share)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_on_white(format, mode):
    image = noise(mode)
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    pixels = decode(encoded(image, format, **options))
    values = np.asarray(image)
    expected = on_white(values[..., :-1], values[..., -1])
    # Pillow rounds twice.
    assert np.abs(pixels - expected).max() <= 1
    assert pixels.shape[-1] == (1 if mode == "LA" and format != "WEBP" else 3)


def test_a_black_glyph_on_a_transparent_ground_is_seen():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (1, 1, 3, 3))
    expected = np.full((4, 4, 3), 255)
    expected[1:3, 1:3] = 0
    np.testing.assert_array_equal(decode(encoded(image)), expected)


def test_what_is_wholly_transparent_may_have_any_color():
    first, second = noise("RGBA", 0), noise("RGBA", 1)
    for image in (first, second):
        image.putalpha(0)
    np.testing.assert_array_equal(decode(encoded(first)), decode(encoded(second)))


@pytest.mark.parametrize(("mode", "hidden"), [("L", 100), ("RGB", (1, 2, 3)), ("1", 0)])
def test_a_color_that_stands_for_transparency_is_white(mode, hidden):
    image = Image.new(mode, (3, 2), 1 if mode == "1" else "gray")
    image.putpixel((1, 0), hidden)
    pixels = decode(encoded(image, transparency=hidden))
    assert (pixels[0, 1] == 255).all()
    assert (pixels[1] == np.asarray(image.convert("RGB"))[1, 0, 0]).all()
    assert pixels.shape[-1] == (3 if mode == "RGB" else 1)


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_transparent_color_of_a_palette_is_white(format):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    pixels = decode(encoded(image, format, transparency=0))
    np.testing.assert_array_equal(pixels, [[[255, 255, 255], [200, 100, 50]]])


def test_a_palette_with_shares_of_transparency_is_laid_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    pixels = decode(encoded(image, transparency=bytes([255, 102])))
    np.testing.assert_array_equal(pixels[0, 0], [10, 20, 30])
    np.testing.assert_allclose(pixels[0, 1], [233, 193, 173], atol=1)


@pytest.mark.parametrize(
    ("mode", "channels"), [("1", 1), ("L", 1), ("LA", 1), ("P", 3), ("RGB", 3), ("RGBA", 3)]
)
def test_shades_of_grey_have_one_channel_and_palettes_three(mode, channels):
    image = noise("L").convert(mode)
    pixels = decode(encoded(image))
    assert pixels.shape == (5, 7, channels)
    np.testing.assert_array_equal(pixels[..., 0], np.asarray(image.convert("L")))


def test_inks_become_light():
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    pixels = decode(encoded(image, "JPEG", quality=95))
    assert np.abs(pixels.astype(int) - [0, 255, 255]).max() <= 3


def test_of_several_frames_it_is_the_first():
    frames = [Image.new("RGB", (3, 3), color) for color in ("red", "blue")]
    for format in ("GIF", "TIFF", "WEBP"):
        options = {"lossless": True} if format == "WEBP" else {}
        file = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(decode(file), np.asarray(frames[0]))


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_more_than_8_bits_are_refused(mode):
    image = Image.new(mode, (3, 3))
    with pytest.raises(ValueError, match="it must have 8 bits per channel"):
        decode(encoded(image, "TIFF"))


def png_of(width, height):
    """A PNG that says it is so large, and holds nothing."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b""))


@pytest.mark.parametrize(("width", "height"), [(2**13, 2**13 + 1), (30_000, 30_000)])
@pytest.mark.parametrize("limit", [Image.MAX_IMAGE_PIXELS, None], ids=["limit", "no limit"])
def test_a_bomb_is_refused_by_its_size(width, height, limit, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(ValueError, match=r"it is truncated or damaged: .*pixels"):
        decode(png_of(width, height))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF"])
def test_truncated_pictures_are_refused(format):
    content = encoded(noise("RGB", size=(60, 60)), format).getvalue()
    for kept in (0, 20, len(content) // 2, len(content) - 30):
        with pytest.raises(ValueError, match="it is truncated or damaged"):
            decode(io.BytesIO(content[:kept]))

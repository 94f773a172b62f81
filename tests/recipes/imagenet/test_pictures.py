"""Crops and mixtures of pictures, against Pillow and against their definitions."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_lc.data import picture
from recipes.imagenet import pictures

pytestmark = pytest.mark.once

# Each pixel says where it is: red from left to right, green from top to bottom.
HEIGHT, WIDTH = 200, 250
PLACES = np.stack(
    np.broadcast_arrays(np.arange(WIDTH), np.arange(HEIGHT)[:, None], 0), axis=-1
).astype("uint8")


def encoded(image, format="PNG", mode="RGB", **options):
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, format, **options)
    return tf.constant(file.getvalue())


def seeds(count):
    return [tf.constant([5, i], tf.int64) for i in range(count)]


@pytest.fixture(scope="module", params=["PNG", "JPEG"])
def crops(request):
    """Height and width of 100 crops, in pixels of the picture."""
    options = {"quality": 100, "subsampling": 0} if request.param == "JPEG" else {}
    content = encoded(PLACES, request.param, **options)
    crop = tf.function(lambda seed: pictures.random_resized_crop(content, 64, seed))
    images = np.stack([crop(seed) for seed in seeds(100)]).astype(float)
    # The first and last pixels see the middle of what they cover.
    extent = np.ptp(images, axis=(1, 2)) * 64 / 63
    assert images.shape == (100, 64, 64, 3)
    return extent[:, 1], extent[:, 0], images


@pytest.fixture(scope="module")
def erased():
    """Which pixels of 200 black pictures are covered, at a rate of 0.5."""
    black = tf.zeros([60, 80, 3], tf.uint8)
    erase = tf.function(lambda seed: pictures.random_erasing(black, 0.5, seed))
    return np.stack([erase(seed) for seed in seeds(200)])


def test_erasing_covers_a_box_in_the_share_of_pictures(erased):
    covered = erased.any(-1)
    chosen = covered.any((1, 2))
    assert 0.4 < chosen.mean() < 0.6
    for picture_ in covered[chosen]:
        rows, columns = picture_.any(1), picture_.any(0)
        # One box: its rows and its columns are each without a gap.
        for line in (rows, columns):
            assert np.abs(np.diff(np.pad(line.astype(int), 1))).sum() == 2
        # A pixel of noise is black in all channels in about 1 of 200.
        assert picture_[rows][:, columns].mean() > 0.95


def test_erased_boxes_have_2_to_33_percent_of_the_area_and_any_place(erased):
    covered = erased.any(-1)
    covered = covered[covered.any((1, 2))]
    rows, columns = covered.any(2), covered.any(1)
    share = rows.sum(1) * columns.sum(1) / (60 * 80)
    assert 0.01 < share.min() < 0.06 and 0.25 < share.max() < 0.36
    ratio = rows.sum(1) / columns.sum(1)
    assert 0.25 < ratio.min() < 0.5 and 2 < ratio.max() < 4
    for places in (rows, columns):
        assert places[:, :4].any() and places[:, -4:].any()


def test_erased_pixels_are_noise_like_imagenets(erased):
    noise = erased[erased.any(-1)].astype(float)
    # Clipped at black and white.
    np.testing.assert_allclose(noise.mean(0), [123.7, 116.3, 103.5], atol=3)
    np.testing.assert_allclose(noise.std(0), [57, 56, 56], atol=4)


def test_a_random_crop_has_8_to_100_percent_of_the_area(crops):
    share = crops[0] * crops[1] / (HEIGHT * WIDTH)
    assert 0.07 < share.min() < 0.2 and 0.8 < share.max() < 1.03


def test_a_random_crop_is_at_most_a_third_wider_than_high_or_higher_than_wide(crops):
    ratio = crops[1] / crops[0]
    assert 0.72 < ratio.min() < 0.85 and 1.2 < ratio.max() < 1.38


def test_random_crops_lie_anywhere(crops):
    left, top = crops[2].min(axis=(1, 2))[:, 0], crops[2].min(axis=(1, 2))[:, 1]
    assert left.min() < 10 and left.max() > 100 and top.min() < 10 and top.max() > 80


def test_a_crop_is_a_function_of_its_seed():
    content = encoded(PLACES, "JPEG")
    first, again, other = (
        pictures.random_resized_crop(content, 32, tf.constant(seed, tf.int64)).numpy()
        for seed in ([1, 2], [1, 2], [1, 3])
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_flips_one_half_of_the_images():
    image = tf.constant(PLACES)
    flipped = [pictures.random_flip(image, seed).numpy() for seed in seeds(200)]
    mirrored = [np.array_equal(one, PLACES[:, ::-1]) for one in flipped]
    assert all(m or np.array_equal(one, PLACES) for m, one in zip(mirrored, flipped, strict=True))
    assert 75 < sum(mirrored) < 125


@pytest.mark.parametrize(("height", "width"), [(60, 90), (97, 64), (40, 40)])
def test_the_view_of_the_test_is_pillows(height, width):
    # Pillow clips between the two axes, which this noise does not come to.
    noise = np.random.default_rng(0).integers(80, 176, (height, width, 3), "uint8")
    got = pictures.central_crop(encoded(noise), 32, 0.95).numpy()
    # 32 / 0.95 = 33.7
    size = (33 * width // min(height, width), 33 * height // min(height, width))
    resized = np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC))
    top, left = round((size[1] - 32) / 2), round((size[0] - 32) / 2)
    expected = resized[top : top + 32, left : left + 32]
    # Pillow rounds between the two axes too.
    assert np.abs(got.astype(int) - expected).max() <= 1


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        *(("PNG", "RGB"), ("PNG", "L"), ("PNG", "1"), ("JPEG", "L"), ("JPEG", "CMYK")),
        *(("BMP", "RGB"), ("GIF", "L"), ("WEBP", "RGB"), ("TIFF", "RGB"), ("TIFF", "CMYK")),
    ],
)
def test_decodes_what_imagenet_and_others_hold(format, mode):
    gray = 255 if mode == "1" else 200
    content = encoded(np.full((40, 50, 3), gray, "uint8"), format, mode)
    for image in (
        pictures.central_crop(content, 16, 1.0),
        pictures.random_resized_crop(content, 16, tf.constant([0, 0], tf.int64)),
    ):
        assert image.shape == (16, 16, 3) and image.dtype == tf.uint8
        assert np.abs(image.numpy().astype(int) - gray).max() <= 3


def largest_crop(content, size):
    """Of 30 random crops, that which sees most of the picture."""
    crops = [pictures.random_resized_crop(tf.constant(content), size, seed) for seed in seeds(30)]
    return max((crop.numpy() for crop in crops), key=np.ptp)


ALPHA = Image.new("L", (60, 60), 0)
ALPHA.paste(255, (0, 0, 60, 30))


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_is_white(format):
    image = Image.new("RGB", (60, 60), (10, 20, 30))
    image.putalpha(ALPHA)
    file = io.BytesIO()
    image.save(file, format, **({"lossless": True} if format == "WEBP" else {}))
    view = pictures.central_crop(tf.constant(file.getvalue()), 60, 1.0).numpy()
    np.testing.assert_array_equal(view[:30], np.broadcast_to([10, 20, 30], (30, 60, 3)))
    assert (view[30:] == 255).all()
    # Colours of both halves, and what a cubic makes of their border.
    assert largest_crop(file.getvalue(), 60).max() == 255


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_their_exif_data_say(format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.fromarray(PLACES[:64, :64]).save(file, format, exif=exif, quality=100)
    shown = picture.decode(io.BytesIO(file.getvalue()), "it")
    view = pictures.central_crop(tf.constant(file.getvalue()), 64, 1.0).numpy()
    assert np.abs(view.astype(int) - shown).max() <= 4
    # The place of each pixel rises in the same direction.
    crop = largest_crop(file.getvalue(), 64)
    for axis in (0, 1):
        for channel in (0, 1):
            slope, expected = (
                np.diff(x[..., channel].astype(int), axis=axis).mean() for x in (crop, shown)
            )
            assert np.sign(round(2 * slope)) == np.sign(round(2 * expected))


BOMB = (ValueError, Image.DecompressionBombError)


def test_a_bomb_is_refused_before_it_is_decoded():
    content = bytearray(encoded(PLACES, "JPEG").numpy())
    start = content.index(b"\xff\xc0")
    content[start + 5 : start + 9] = (65_000).to_bytes(2) * 2
    content = tf.constant(bytes(content))
    with pytest.raises(BOMB, match="pixels"):
        pictures.random_resized_crop(content, 8, seeds(1)[0])
    with pytest.raises(BOMB, match="pixels"):
        pictures.central_crop(content, 8, 1.0)


BATCH = 8
VALUES = np.arange(10, 250, 30)
PLAIN = np.broadcast_to(VALUES[:, None, None, None], (BATCH, 24, 32, 3)).astype("uint8")
LABELS = np.eye(BATCH, dtype="float32")


def mixed(mixup, cutmix, count=40):
    mix = tf.function(lambda seed: pictures.mix(PLAIN, LABELS, mixup, cutmix, seed))
    for seed in seeds(count):
        images, labels = mix(seed)
        assert images.shape == PLAIN.shape and images.dtype == tf.uint8
        np.testing.assert_allclose(np.sum(labels, axis=-1), 1, rtol=1e-6)
        yield images.numpy(), labels.numpy()


def test_mixup_blends_with_the_counterpart_by_the_labels_share():
    for images, labels in mixed(0.5, 0.0):
        share = np.diag(labels)
        np.testing.assert_allclose(labels[:, ::-1].diagonal(), 1 - share, atol=1e-6)
        expected = share * VALUES + (1 - share) * VALUES[::-1]
        assert np.abs(images - expected[:, None, None, None]).max() <= 0.5 + 1e-3


def test_cutmix_takes_the_labels_share_of_pixels_from_each():
    whole = []
    for images, labels in mixed(0.0, 1.0):
        own = images == PLAIN
        assert (own | (images == PLAIN[::-1])).all()
        np.testing.assert_allclose(own.mean(axis=(1, 2, 3)), np.diag(labels), atol=1e-6)
        whole.append(np.diag(labels)[0])
    assert min(whole) < 0.4 and max(whole) > 0.9


def test_a_cutmix_box_is_a_rectangle():
    for images, _ in mixed(0.0, 1.0):
        other = (images != PLAIN)[0, :, :, 0]
        rows, columns = other.any(axis=1), other.any(axis=0)
        np.testing.assert_array_equal(other, rows[:, None] & columns)
        assert np.abs(np.diff(rows.astype(int))).sum() <= 2


def test_one_of_both_is_drawn_for_a_batch():
    boxes = [bool((np.ptp(images, axis=(1, 2, 3)) > 0).any()) for images, _ in mixed(1.0, 1.0, 200)]
    # A box can be empty, or cover everything.
    assert 70 < sum(boxes) < 120


def test_a_small_alpha_gives_shares_near_0_or_1():
    """Beta(0.1, 0.1): 10 % of its mass lies beyond these bounds, on a side 41 %."""
    share = np.array([labels[0, 0] for _, labels in mixed(0.1, 0.0, 200)])
    assert np.isfinite(share).all()
    assert 0.7 < np.mean((share < 0.1) | (share > 0.9)) < 0.95


def test_nothing_is_mixed_where_both_are_off():
    for images, labels in mixed(0.0, 0.0, 3):
        np.testing.assert_array_equal(images, PLAIN)
        np.testing.assert_array_equal(labels, LABELS)

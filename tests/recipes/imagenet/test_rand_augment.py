"""RandAugment's operations against Pillow's, at timm's strengths."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from recipes.imagenet import rand_augment
from recipes.imagenet.rand_augment import RandAugment

pytestmark = pytest.mark.once

LEVEL = 0.7
SIZE = 32


@pytest.fixture(scope="module")
def operations():
    return rand_augment.operations()


@pytest.fixture(scope="module")
def picture():
    """Smooth, so that it matters little how a turned picture is interpolated."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(30, 220, (6, 6, 3), "uint8"))
    return small.resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def solarize_add(image, level):
    """As timm's: what is added goes to the dark pixels only."""
    values = np.asarray(image).astype(int)
    added = np.minimum(values + int(level * 110), 255)
    return Image.fromarray(np.where(values < 128, added, values).astype("uint8"))


# For each operation, Pillow's at a level with a sign; whether the level's sign counts; and how
# far apart the two may be, in pixel values.
PILLOWS = {
    "auto_contrast": (lambda i, v: ImageOps.autocontrast(i), False, 1),
    "equalize": (lambda i, v: ImageOps.equalize(i), False, 1),
    "invert": (lambda i, v: ImageOps.invert(i), False, 0),
    "posterize": (lambda i, v: ImageOps.posterize(i, 4 - int(v * 4)), False, 0),
    "solarize": (lambda i, v: ImageOps.solarize(i, 256 - int(v * 256)), False, 0),
    "solarize_add": (solarize_add, False, 0),
    "color": (lambda i, v: ImageEnhance.Color(i).enhance(1 - 0.9 * v), True, 2),
    "brightness": (lambda i, v: ImageEnhance.Brightness(i).enhance(1 + 0.9 * v), True, 1),
    "sharpness": (lambda i, v: ImageEnhance.Sharpness(i).enhance(1 - 0.9 * v), True, 2),
}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", PILLOWS)
def test_an_operation_is_pillows(name, sign, operations, picture):
    pillows, signed, tolerance = PILLOWS[name]
    batch = tf.constant(np.asarray(picture)[np.newaxis].astype("float32"))
    got = operations[name](batch, tf.constant(LEVEL), tf.constant(sign * LEVEL))[0].numpy()
    expected = np.asarray(pillows(picture, sign * LEVEL if signed else LEVEL)).astype(float)
    assert np.abs(np.clip(got, 0, 255) - expected).max() <= tolerance + 0.5


BILINEAR = {"resample": Image.Resampling.BILINEAR, "fillcolor": (114, 114, 114)}


def affine(*matrix):
    return lambda image: image.transform(image.size, Image.Transform.AFFINE, matrix, **BILINEAR)


TURNS = {
    "rotate": lambda v: lambda image: image.rotate(30 * v, **BILINEAR),
    "shear_x": lambda v: affine(1, 0.3 * v, 0, 0, 1, 0),
    "shear_y": lambda v: affine(1, 0, 0, 0.3 * v, 1, 0),
    "translate_x": lambda v: affine(1, 0, -0.45 * v * SIZE, 0, 1, 0),
    "translate_y": lambda v: affine(1, 0, 0, 0, 1, -0.45 * v * SIZE),
}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", TURNS)
def test_a_turn_or_shift_is_pillows(name, sign, operations, picture):
    batch = tf.constant(np.asarray(picture)[np.newaxis].astype("float32"))
    got = operations[name](batch, tf.constant(LEVEL), tf.constant(sign * LEVEL))[0].numpy()
    expected = np.asarray(TURNS[name](sign * LEVEL)(picture)).astype(float)
    # Pillow counts from the corner of a pixel and keras-cv from its middle; and at the border of
    # what was uncovered the one interpolates with the fill, and the other does not.
    near = np.abs(got - expected).max(axis=-1) <= 8
    assert near.mean() > 0.9


def test_contrast_draws_away_from_the_mean_of_each_channel(operations, picture):
    values = np.asarray(picture).astype("float32")
    got = operations["contrast"](tf.constant(values[np.newaxis]), LEVEL, -LEVEL)[0].numpy()
    mean = values.mean(axis=(0, 1))
    np.testing.assert_allclose(got, np.clip(mean + 0.37 * (values - mean), 0, 255), atol=1e-3)


def test_there_are_timms_15_operations(operations):
    assert operations.keys() == {*PILLOWS, *TURNS, "contrast"}
    assert len(operations) == 15


def test_each_of_two_rounds_applies_an_operation_to_half_of_the_images(monkeypatch):
    one_more = {"first": lambda x, *_: x + 1, "second": lambda x, *_: x + 1}
    monkeypatch.setattr(rand_augment, "operations", lambda: one_more)
    augment = tf.function(RandAugment(LEVEL))
    image = tf.zeros([2, 2, 3])
    applied = [int(augment(image, tf.constant([3, i], tf.int64))[0, 0, 0]) for i in range(400)]
    assert 70 < applied.count(0) < 130 and 160 < applied.count(1) < 240
    assert applied.count(0) + applied.count(1) + applied.count(2) == 400


def test_levels_vary_around_the_magnitude_and_signs_are_drawn(monkeypatch):
    seen = {"level": lambda x, level, signed: x * 0 + tf.stack([level, signed, 0.0])}
    monkeypatch.setattr(rand_augment, "operations", lambda: seen)
    augment = tf.function(RandAugment(LEVEL))
    drawn = np.array(
        [augment(tf.fill([1, 1, 3], -1.0), tf.constant([4, i]))[0, 0] for i in range(400)]
    )
    level, signed, _ = drawn[drawn[:, 2] == 0].T
    assert abs(level.mean() - LEVEL) < 0.01 and 0.04 < level.std() < 0.06
    np.testing.assert_allclose(np.abs(signed), level)
    assert 0.4 < np.mean(signed > 0) < 0.6


def test_an_image_is_a_function_of_its_seed(picture):
    augment = tf.function(RandAugment(LEVEL))
    image = tf.constant(np.asarray(picture).astype("float32"))
    images = [augment(image, tf.constant([1, seed])).numpy() for seed in (*range(8), *range(8))]
    np.testing.assert_array_equal(images[:8], images[8:])
    assert len({one.tobytes() for one in images}) > 3


def test_a_magnitude_outside_0_to_1_is_refused():
    with pytest.raises(ValueError, match=r"`magnitude` must be from 0 to 1.*magnitude=7"):
        RandAugment(7)

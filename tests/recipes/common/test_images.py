"""Which images a run trains on."""

import dataclasses

import numpy as np
import pytest

import keras_lc
from recipes.common.images import balanced, describe, evaluation_batch, take_subset

LABELS = np.random.default_rng(0).integers(0, 5, 200).astype("int32")


@pytest.mark.parametrize("count", [1, 5, 7, 60, 200])
def test_subset_has_equally_many_of_each_class(count):
    places = balanced(LABELS, count)
    assert len(set(places)) == count
    np.testing.assert_array_equal(places, np.sort(places))
    if count <= 5 * np.bincount(LABELS).min():
        assert np.ptp(np.bincount(LABELS[places], minlength=5)) <= (count % 5 > 0)


def test_subset_has_the_first_of_each_class():
    assert balanced(np.array([2, 0, 0, 1, 2, 1]), 3).tolist() == [0, 1, 3]


def test_fewer_are_among_more():
    for fewer, more in ((1, 2), (7, 23), (60, 61)):
        assert set(balanced(LABELS, fewer)) < set(balanced(LABELS, more))


@pytest.mark.parametrize("count", [0, 201])
def test_there_must_be_so_many(count):
    with pytest.raises(ValueError, match=rf"from 1 to 200 images\. Received: {count}"):
        balanced(LABELS, count)


def test_only_training_images_are_left_out():
    digits = keras_lc.data.load("digits")
    small = take_subset(digits, 50)
    assert np.bincount(small.y_train).tolist() == [5] * 10
    assert small.x_test is digits.x_test
    place = np.flatnonzero(digits.y_train == small.y_train[0])[0]
    np.testing.assert_array_equal(small.x_train[0], digits.x_train[place])


def test_other_images_have_another_fingerprint():
    digits = keras_lc.data.load("digits")
    changed = digits.x_test.copy()
    changed[-1, -1, -1] ^= 1
    other = dataclasses.replace(digits, x_test=changed)
    first, again, second = (describe(d, None)["fingerprint"] for d in (digits, digits, other))
    assert first == again != second


@pytest.mark.parametrize(
    ("suffix", "source"), [("jpg", "image folder, JPEG"), ("png", "image folder")]
)
def test_jpeg_compression_is_noted(suffix, source, tmp_path):
    (tmp_path / "train" / "a").mkdir(parents=True)
    (tmp_path / "train" / "a" / f"1.{suffix}").touch()
    digits = keras_lc.data.load("digits")
    assert describe(digits, tmp_path)["source"] == source
    assert describe(digits, None)["source"] == "original"


@pytest.mark.parametrize(
    ("shape", "batch"),
    [
        ((32, 32, 3), 500),
        ((3, 64, 64), 125),
        ((224, 224, 3), 10),
        ((8, 8, 1), 500),
        ((999, 999, 3), 1),
    ],
)
def test_fewer_large_images_are_evaluated_at_once(shape, batch):
    assert evaluation_batch(np.zeros((2, *shape), "uint8"), 500) == batch

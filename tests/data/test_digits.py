import numpy as np
import pytest
import sklearn.datasets
from PIL import Image

from keras_lc.data import load

pytestmark = pytest.mark.once


def test_has_every_image_once():
    data = load("digits")
    assert data.x_train.shape == (1442, 32, 32, 1)
    assert data.x_test.shape == (355, 32, 32, 1)
    labels = np.concatenate([data.y_train, data.y_test])
    expected = sklearn.datasets.load_digits().target
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(expected))


def test_every_fifth_image_of_each_class_is_a_test_image():
    data = load("digits")
    for train, test in zip(np.bincount(data.y_train), np.bincount(data.y_test), strict=True):
        assert test == (train + test) // 5


def test_the_fifth_zero_is_the_first_zero_of_the_test_images():
    data = load("digits")
    source = sklearn.datasets.load_digits()
    fifth = source.images[np.flatnonzero(source.target == 0)[4]]
    image = Image.fromarray(np.rint(fifth * 255 / 16).astype(np.uint8))
    expected = np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))
    first = data.x_test[np.flatnonzero(data.y_test == 0)[0], ..., 0]
    np.testing.assert_array_equal(first, expected)


def test_ink_reaches_from_black_to_white():
    data = load("digits")
    assert (data.x_train.min(), data.x_train.max()) == (0, 255)


def test_is_the_same_each_time():
    np.testing.assert_array_equal(load("digits").x_train, load("digits").x_train)


def test_classes_are_the_digits():
    assert load("digits").class_names == tuple("0123456789")

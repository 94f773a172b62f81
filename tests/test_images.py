"""What counts as images and labels."""

import numpy as np
import pytest

from keras_lc.images import check_counts, check_images, class_numbers

pytestmark = pytest.mark.once


def test_images_fit_a_shape_of_which_sides_may_be_open():
    check_images(np.zeros((2, 5, 7, 3)), (None, 7, 3))
    with pytest.raises(ValueError, match=r"shape \(None, None, 7, 3\)\. Received: .*2, 7, 5, 3"):
        check_images(np.zeros((2, 7, 5, 3)), (None, 7, 3))
    with pytest.raises(ValueError, match=r"Received: list"):
        check_images([[[0]]], (1, 1, 1))


@pytest.mark.parametrize(("images", "labels"), [(0, 0), (3, 2), (2, 3)])
def test_there_are_as_many_labels_as_images_and_at_least_one(images, labels):
    with pytest.raises(ValueError, match=f"Received: {images} images, {labels} labels"):
        check_counts(np.zeros((images, 1)), np.zeros(labels))


@pytest.mark.parametrize(
    "labels",
    [
        [2, 0, 1],
        np.array([[2], [0], [1]]),
        np.array([2.0, 0.0, 1.0]),
        np.eye(3)[[2, 0, 1]],
        np.array([[0.1, 0.1, 0.8], [0.5, 0.3, 0.2], [0, 1, 0]]),
    ],
)
def test_labels_of_every_form_give_class_numbers(labels):
    numbers = class_numbers(labels, 3)
    assert numbers.dtype == np.int32
    np.testing.assert_array_equal(numbers, [2, 0, 1])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 3]), r"from 0 to 2 .*Received: labels from 0 to 3"),
        (np.array([0, -1]), r"from 0 to 2 .*Received: labels from -1 to 0"),
        (np.array([0, 0.5]), r"`y` must be integers .*dtype float64"),
        (np.array(["cat", "dog"]), r"`y` must be integers .*dtype <U3"),
        (np.zeros((2, 4)), r"one-hot `\(n, 3\)`.*shape \(2, 4\)"),
    ],
)
def test_other_labels_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        class_numbers(labels, 3)

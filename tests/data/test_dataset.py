import numpy as np
import pytest

from keras_lc.data import Dataset

pytestmark = pytest.mark.once


def dataset(**changes):
    rng = np.random.default_rng(0)
    arguments = {
        "name": "noise",
        "x_train": rng.integers(0, 256, (2500, 5, 4, 3), np.uint8),
        "y_train": rng.integers(0, 2, 2500).astype(np.int32),
        "x_test": rng.integers(0, 256, (3, 5, 4, 3), np.uint8),
        "y_test": np.array([1, 0, 1], np.int32),
        "class_names": ("cat", "dog"),
    }
    return Dataset(**{**arguments, **changes})


def test_knows_its_classes_and_image_shape():
    data = dataset()
    assert data.num_classes == 2
    assert data.image_shape == (5, 4, 3)


def test_statistics_are_those_of_the_training_pixels_in_float64():
    data = dataset()
    pixels = data.x_train.astype(np.float64)
    np.testing.assert_allclose(data.mean, pixels.mean(axis=(0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(data.std, pixels.std(axis=(0, 1, 2)), rtol=1e-13)


def test_statistics_are_python_floats():
    data = dataset()
    assert all(type(value) is float for value in (*data.mean, *data.std))


def test_statistics_of_one_color_have_no_rounding_error():
    data = dataset(x_train=np.full((2500, 5, 4, 3), 77, np.uint8))
    assert data.mean == (77.0, 77.0, 77.0)
    assert data.std == (0.0, 0.0, 0.0)


def test_repr_shows_no_pixels():
    assert repr(dataset()) == "Dataset(name='noise', class_names=('cat', 'dog'))"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_test": np.zeros((3, 5, 4, 3))}, r"`x_test` must be uint8 .* Received: float64"),
        ({"x_test": np.zeros((3, 5, 4, 1), np.uint8)}, r"`x_test` must be .*\('n', 5, 4, 3\)"),
        ({"y_test": np.zeros(3, np.int64)}, r"`y_test` must be int32 .* Received: int64"),
        ({"y_test": np.zeros(2, np.int32)}, r"`y_test` must be int32 of shape \(3,\)"),
        ({"y_test": np.array([0, 1, 2], np.int32)}, r"`y_test` must hold labels from 0 to 1"),
        ({"y_test": np.array([0, 1, -1], np.int32)}, r"Received: labels from -1 to 1"),
    ],
)
def test_rejects_arrays_that_do_not_fit_together(changes, message):
    with pytest.raises(ValueError, match=message):
        dataset(**changes)

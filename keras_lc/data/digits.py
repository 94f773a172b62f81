"""The handwritten digits of scikit-learn: real images without a download."""

import numpy as np

from keras_lc.data.dataset import Dataset
from keras_lc.data.optional import require
from keras_lc.data.resize import resize


def read() -> Dataset:
    """Loads the digits, upscaled from 8×8 to 32×32 pixels.

    Every fifth image of each class is a test image.

    Returns:
        1,442 training and 355 test images, `(32, 32, 1)`.

    Raises:
        ImportError: If scikit-learn or Pillow is not installed.
    """
    digits = require("sklearn.datasets").load_digits()
    # The pixel values are from 0 to 16.
    x = np.rint(digits.images[..., None] * (255 / 16)).astype(np.uint8)
    x = resize(x, 32)
    y = digits.target.astype(np.int32)
    test = np.zeros(len(y), bool)
    for label in range(10):
        test[np.flatnonzero(y == label)[4::5]] = True
    return Dataset("digits", x[~test], y[~test], x[test], y[test], tuple("0123456789"))

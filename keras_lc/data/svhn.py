"""SVHN, cropped digits, from its original MATLAB files.

References:
    - [Reading Digits in Natural Images with Unsupervised Feature Learning](
      http://ufldl.stanford.edu/housenumbers/), Netzer et al. 2011.
"""

import math
from pathlib import Path

import numpy as np

from keras_lc.data.dataset import Dataset
from keras_lc.data.optional import require

# The sizes of the original files, in bytes and in images.
_FILES = {"train_32x32.mat": (182_040_794, 73_257), "test_32x32.mat": (64_275_384, 26_032)}

ARCHIVES = {
    "svhn_cropped": f"{', '.join(_FILES)} (from http://ufldl.stanford.edu/housenumbers/)",
}


def read(name: str, path: Path) -> Dataset | None:
    """Reads SVHN.

    Args:
        name: Name of the dataset.
        path: A folder with the two `.mat` files, or one of these files.

    Returns:
        The dataset, or `None` if `path` holds none of its files.

    Raises:
        ValueError: If a file is truncated, is damaged or contains something else.
        FileNotFoundError: If one of the files is missing.
        ImportError: If SciPy is not installed.
    """
    folder = path.parent if path.name in _FILES else path
    missing = [file for file in _FILES if not (folder / file).is_file()]
    if len(missing) == len(_FILES):
        return None
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}")
    (x_train, y_train), (x_test, y_test) = (_decode(folder / file) for file in _FILES)
    return Dataset(name, x_train, y_train, x_test, y_test, tuple("0123456789"))


def _decode(path: Path) -> tuple[np.ndarray, np.ndarray]:
    scipy_io = require("scipy.io")
    original_bytes, most = _FILES[path.name]
    try:
        # First check the headers, before the content takes memory.
        sizes = {name: shape for name, shape, _ in scipy_io.whosmat(path)}
        fits = math.prod(sizes.get("X", ())) <= most * 32 * 32 * 3
        fits = fits and math.prod(sizes.get("y", ())) <= most
        content = scipy_io.loadmat(path, variable_names=["X", "y"]) if fits else {}
    # SciPy has no special exception for a damaged file. It can raise any error.
    except Exception as error:
        raise ValueError(
            f"{path} is truncated, damaged or not a MATLAB file: it has {path.stat().st_size:,} "
            f"bytes, the original has {original_bytes:,} ({error})"
        ) from error
    if not fits:
        raise ValueError(
            f"{path} must hold at most {most:,} images of 32 x 32 pixels with three channels. "
            f"Received: `X` of shape {sizes.get('X')}, `y` of shape {sizes.get('y')}"
        )
    if missing := {"X", "y"} - set(content):
        raise ValueError(f"{path} lacks the variable(s) {', '.join(sorted(missing))}")
    x, y = content["X"], content["y"].ravel()
    if x.dtype != np.uint8 or x.shape != (32, 32, 3, len(y)):
        raise ValueError(
            f"{path} must hold `X` as uint8 of shape (32, 32, 3, {len(y)}), because `y` has "
            f"{len(y)} labels. Received: {x.dtype} of shape {x.shape}"
        )
    y = y.astype(np.int32)
    # SVHN counts from 1, as MATLAB does: the digit 0 is class 10.
    y[y == 10] = 0
    return np.ascontiguousarray(x.transpose(3, 0, 1, 2)), y

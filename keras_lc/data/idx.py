"""Fashion-MNIST from its original IDX files.

References:
    - [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist), Xiao et al. 2017.
    - [The MNIST database](http://yann.lecun.com/exdb/mnist/), for the IDX format.
"""

import math
import zlib
from pathlib import Path

import numpy as np

from keras_lc.data.dataset import Dataset

_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

ARCHIVES = {
    "fashion_mnist": f"{', '.join(f'{file}.gz' for file in _FILES)} "
    "(from https://github.com/zalandoresearch/fashion-mnist), or these without .gz"
}

# The size of the largest file: a header and the training images.
_MOST_BYTES = 16 + 60_000 * 28 * 28

_CLASS_NAMES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def read(name: str, path: Path) -> Dataset | None:
    """Reads Fashion-MNIST.

    Args:
        name: Name of the dataset.
        path: A folder with the four IDX files, each plain or with `.gz`, or one of these files.

    Returns:
        The dataset at its original 28×28 pixels, or `None` if `path` holds none of its files.

    Raises:
        ValueError: If a file is truncated, damaged or not in the IDX format.
        FileNotFoundError: If some of the files are missing.
    """
    folder = path.parent if path.name.removesuffix(".gz") in _FILES else path
    found = {
        file: candidate
        for file in _FILES
        for candidate in (folder / f"{file}.gz", folder / file)
        if candidate.is_file()
    }
    if not found:
        return None
    missing = [file for file in _FILES if file not in found]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)} (plain or with .gz)")
    x_train, y_train, x_test, y_test = (
        _decode(found[file], dimensions)
        for file, dimensions in zip(_FILES, (3, 1, 3, 1), strict=True)
    )
    return Dataset(
        name,
        x_train[..., None],
        y_train.astype(np.int32),
        x_test[..., None],
        y_test.astype(np.int32),
        _CLASS_NAMES,
    )


def _decode(path: Path, dimensions: int) -> np.ndarray:
    data, whole = _read(path)
    # Two zeros, the type (8: uint8), the number of dimensions. Each dimension has 4 bytes.
    magic = bytes((0, 0, 8, dimensions))
    header = 4 + 4 * dimensions
    if data[:4] != magic:
        raise ValueError(
            f"{path} must begin with the bytes {magic.hex(' ')} (IDX format, uint8, {dimensions} "
            f"dimension(s)). Received: {data[:4].hex(' ') or 'no bytes'}"
        )
    shape = tuple(int(n) for n in np.frombuffer(data[4:header].ljust(header - 4, b"\0"), ">u4"))
    expected = header + math.prod(shape)
    if len(data) != expected:
        raise ValueError(
            f"{path} must hold {expected:,} bytes for its shape {shape}. "
            f"Received: {len(data):,} bytes"
        )
    if not whole:
        raise ValueError(
            f"{path} is truncated or damaged: its checksum is missing. Download the file again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape).copy()


def _read(path: Path) -> tuple[bytes, bool]:
    """Returns the uncompressed content of a file, and whether the file is complete."""
    with open(path, "rb") as file:
        data, whole = file.read(_MOST_BYTES + 1), True
    if path.suffix == ".gz":
        # Unlike `gzip`, this returns the rest of a truncated file, so the error can count its
        # bytes. It also never returns more bytes than the limit.
        inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        try:
            data = inflate.decompress(data, _MOST_BYTES + 1)
        except zlib.error as error:
            raise ValueError(f"{path} is not a gzip file, or is damaged ({error})") from error
        # At the end of the stream, zlib has compared the checksum.
        whole = inflate.eof and not inflate.unused_data.strip(b"\0")
    if len(data) > _MOST_BYTES:
        raise ValueError(
            f"{path} must hold at most {_MOST_BYTES:,} bytes: 60,000 images of 28 x 28 pixels"
        )
    return data, whole

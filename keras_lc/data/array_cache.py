"""Stores arrays on disk, so that images are decoded only once."""

import hashlib
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_lc.files import rename


def cache_path(source: Path, what: str = "") -> Path:
    """Returns the cache file for the arrays of a folder.

    Args:
        source: The folder with the images.
        what: What is made from the images. Each has its own file.

    Returns:
        A file in `$KERAS_LC_CACHE` if it is set, otherwise in `keras_lc` under Keras' home
        (`$KERAS_HOME`, which defaults to `~/.keras`).
    """
    keras_home = os.environ.get("KERAS_HOME") or "~/.keras"
    folder = Path(os.environ.get("KERAS_LC_CACHE") or Path(keras_home, "keras_lc")).expanduser()
    source = source.resolve()
    digest = hashlib.sha256(os.fsencode(source) + what.encode()).hexdigest()
    return folder / f"{source.name}-{digest[:16]}.npz"


def read_arrays(path: Path, fingerprint: str) -> dict[str, np.ndarray] | None:
    """Reads arrays from a cache file.

    Args:
        path: The file.
        fingerprint: The fingerprint of the images.

    Returns:
        The arrays. `None` if the file is missing or damaged, or has another fingerprint.
    """
    try:
        # With the path alone, `np.load` would leave a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["fingerprint"]) != fingerprint:
                return None
            return {name: arrays[name] for name in arrays.files if name != "fingerprint"}
    # A bad cache never matters, because the images still exist.
    except Exception:
        return None


def write_arrays(path: Path, fingerprint: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays so that no other process ever sees half a file.

    If the cache cannot be written, there is only a warning, because it only costs time.

    Args:
        path: The file. An older file is replaced.
        fingerprint: The fingerprint of the images.
        arrays: The arrays by name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=path.parent) as folder:
            temporary = Path(folder, path.name)
            np.savez(temporary, fingerprint=np.array(fingerprint), **arrays)
            rename(temporary, path)
    except OSError as error:
        warnings.warn(
            f"The decoded images could not be cached and will be decoded again next time: {error}."
            " Set KERAS_LC_CACHE to a folder with enough space.",
            stacklevel=2,
        )

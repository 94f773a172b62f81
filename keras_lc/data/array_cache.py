"""Arrays kept on disk, so that images are decoded once."""

import hashlib
import os
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from keras_lc.files import rename


def cache_path(source: Path) -> Path:
    """Returns where the arrays of a folder are kept.

    Args:
        source: The folder that they come from.

    Returns:
        A file in `$KERAS_LC_CACHE`, or else in `keras_lc` under Keras' home (`$KERAS_HOME`, or
        else `~/.keras`).
    """
    keras_home = os.environ.get("KERAS_HOME") or "~/.keras"
    folder = Path(os.environ.get("KERAS_LC_CACHE") or Path(keras_home, "keras_lc")).expanduser()
    source = source.resolve()
    digest = hashlib.sha256(os.fsencode(source)).hexdigest()
    return folder / f"{source.name}-{digest[:16]}.npz"


def read_arrays(path: Path, fingerprint: str) -> dict[str, np.ndarray] | None:
    """Reads arrays back.

    Args:
        path: The file.
        fingerprint: What they were made from.

    Returns:
        The arrays, or `None` if there are none, if they were made from something else or if the
        file is damaged.
    """
    try:
        # Given the path, `np.load` leaves a damaged file open.
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["fingerprint"]) != fingerprint:
                return None
            return {name: arrays[name] for name in arrays.files if name != "fingerprint"}
    # Whatever is wrong with a cache, the images that it was made from are still there.
    except Exception:
        return None


def write_arrays(path: Path, fingerprint: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays, so that no other process ever sees half a file.

    A cache that cannot be written costs time and nothing else, so that is only a warning.

    Args:
        path: The file; an older one is replaced.
        fingerprint: What the arrays were made from.
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

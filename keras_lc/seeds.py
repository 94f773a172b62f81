"""Seeds of models and of their parts, and fingerprints of the values made from them."""

import hashlib
import operator
import random

import numpy as np

SEED_LIMIT = 2**63


def resolve_seed(seed: int | None) -> int:
    """Returns `seed` as an int. Draws a seed if it is `None`.

    A drawn seed comes from Python's random generator, like Keras' own default seeds. So
    `keras.utils.set_random_seed` and `keras.distribution.initialize` determine it.
    """
    if seed is None:
        return random.randint(1, 10**9)
    try:
        resolved = operator.index(seed)
    except TypeError:
        raise TypeError(f"`seed` must be an integer or None. Received: seed={seed!r}") from None
    if not 0 <= resolved < SEED_LIMIT:
        raise ValueError(f"`seed` must be at least 0 and below 2**63. Received: seed={seed}")
    return resolved


def derive_seed(seed: int, position: str) -> int:
    """Returns the seed of one part of a model, such as `"stage1_block0_conv1"`.

    It depends only on the model's seed and the part's name. So a new layer in a model does not
    change the filters of the other layers.
    """
    digest = hashlib.blake2b(f"{seed}/{position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % SEED_LIMIT


def fingerprint(values: np.ndarray) -> np.uint64:
    """Returns a 64-bit hash of an array. A file can store it instead of the array."""
    # Little-endian gives the same bytes on every platform. NumPy cannot convert bfloat16.
    if values.dtype.isbuiltin:
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.blake2b(np.ascontiguousarray(values).view("uint8"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))

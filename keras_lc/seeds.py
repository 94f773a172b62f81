"""Seeds: one for a model, one for each of its parts, and fingerprints of what came from them."""

import hashlib
import operator
import random

import numpy as np

SEED_LIMIT = 2**63


def resolve_seed(seed: int | None) -> int:
    """Returns `seed` as an int, or draws one where it is `None`.

    A drawn seed comes from Python's generator, as Keras' own default seeds do, so that
    `keras.utils.set_random_seed` and `keras.distribution.initialize` govern it.
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

    A function of the model's seed and the part's name alone, so that adding a layer to a model
    leaves the filters of all others as they are.
    """
    digest = hashlib.blake2b(f"{seed}/{position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % SEED_LIMIT


def fingerprint(values: np.ndarray) -> np.uint64:
    """Returns 64 bits that stand for the bits of an array, to be kept in its stead."""
    # The same bytes on every platform; bfloat16 is no type of NumPy's, and has no such form.
    if values.dtype.isbuiltin:
        values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    digest = hashlib.blake2b(np.ascontiguousarray(values).view("uint8"), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))

"""The included bases. All have the variance of the LC paper's basis."""

import dataclasses
import math
import numbers

import keras
import numpy as np

from keras_lc.bases.basis import Basis, IndependentNumbers
from keras_lc.bases.random_numbers import (
    cos_pi,
    distinct_keys,
    exp,
    scaled_by_fan_in,
    sin_pi,
    standard_normal,
    symmetric_uniform,
)
from keras_lc.seeds import derive_seed

_registered = keras.saving.register_keras_serializable(package="keras_lc")


@_registered
@dataclasses.dataclass(frozen=True)
class Uniform(IndependentNumbers):
    """Independent numbers of PyTorch's default distribution: the LC paper's basis.

    Drawn from `U[-a, a]` with `a = 1/√(numbers of a filter)`, in 2D `height · width · channels`.

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Equation 3
    """

    def numbers(self, seed: int, count: int) -> np.ndarray:
        return symmetric_uniform(seed, (count,))


@_registered
@dataclasses.dataclass(frozen=True)
class Normal(IndependentNumbers):
    """Independent numbers of the normal distribution.

    Reference:

    - [Delving Deep into Rectifiers](https://arxiv.org/abs/1502.01852), Section 2.2; here with a
      sixth of its variance
    """

    def numbers(self, seed: int, count: int) -> np.ndarray:
        return (standard_normal(seed, count) * math.sqrt(1 / 3)).astype("float32")


@_registered
@dataclasses.dataclass(frozen=True)
class Orthogonal(Basis):
    """Filters as orthogonal as their number allows, in each group of a layer.

    Up to as many filters as one has numbers (in 2D `height · width · channels`) are orthogonal to
    each other and have equal lengths. With more filters, the rows of the flattened basis are
    orthogonal and have equal lengths: its Gram matrix is a multiple of the identity. Other random
    bases only tend to this. Then a frozen LC layer learns exactly like
    `keras_lc.layers.GramLimitConv2D`.

    The last digits of a factorization depend on the machine. So a file holds the fingerprint of
    the normal numbers before the factorization.

    Reference:

    - [Exact solutions to the nonlinear dynamics of learning in deep linear neural networks](
      https://arxiv.org/abs/1312.6120)
    """

    is_exact = False

    def draw(self, seed: int, shape: tuple[int, ...]) -> np.ndarray:
        return standard_normal(seed, math.prod(shape)).astype("float32").reshape(shape)

    def finish(self, drawn: np.ndarray) -> np.ndarray:
        rows = drawn.reshape(-1, drawn.shape[-1]).astype("float64")
        is_wide = rows.shape[0] < rows.shape[1]
        columns, upper = np.linalg.qr(rows.T if is_wide else rows)
        # The signs make the result unique, and its distribution uniform.
        columns *= np.where(np.diagonal(upper) < 0, -1, 1)
        columns *= math.sqrt(max(rows.shape) / (3 * rows.shape[0]))
        filters = columns.T if is_wide else columns
        return np.ascontiguousarray(filters, "float32").reshape(drawn.shape)


@_registered
@dataclasses.dataclass(frozen=True)
class Sparse(Basis):
    """Filters with independent uniform numbers at a few random places, and zeros elsewhere.

    Args:
        taps: Integer, how many numbers of a filter are not zero, in all its channels together.

    Reference:

    - Li, Hastie & Church, *Very Sparse Random Projections*, 2006
    """

    taps: int = 4

    def __post_init__(self):
        _check_at_least_one("taps", self.taps)

    def draw(self, seed: int, shape: tuple[int, ...]) -> np.ndarray:
        count = math.prod(shape[:-1])
        taps = min(self.taps, count)
        keys = distinct_keys(derive_seed(seed, "places"), (count, shape[-1]))
        is_tap = keys <= np.partition(keys, taps - 1, axis=0)[taps - 1]
        values = scaled_by_fan_in(symmetric_uniform(seed, is_tap.shape), taps)
        return (values * is_tap).reshape(shape)


@_registered
@dataclasses.dataclass(frozen=True)
class DCT(Basis):
    """Cosines: each filter is one of the discrete cosine transform's pictures.

    Each channel of a filter has a random factor. The pictures take turns, in a random order, so
    each serves equally many filters. All of them together are an orthonormal basis of the pictures
    of a kernel's size. With all of them, the Gram matrix tends to a multiple of the identity, as
    for independent numbers. With only the lowest `frequencies` it does not, and the filters span
    only smooth pictures.

    Args:
        frequencies: Integer, the number of lowest frequencies to use. A picture has `u` and `v`
            half waves in height and width; those with `u + v < frequencies` are used. In 1D and
            3D there are one and three such numbers. Defaults to `None`: all.

    Reference:

    - Ahmed, Natarajan & Rao, *Discrete Cosine Transform*, 1974
    - [Harmonic Convolutional Networks based on Discrete Cosine Transform](
      https://arxiv.org/abs/2001.06570)
    """

    frequencies: int | None = None

    def __post_init__(self):
        if self.frequencies is not None:
            _check_at_least_one("frequencies", self.frequencies)

    def draw(self, seed: int, shape: tuple[int, ...]) -> np.ndarray:
        *area, _, filters = shape
        waves = np.indices(area).reshape(len(area), -1)  # of each picture, along each side
        lowest = sum(area) if self.frequencies is None else self.frequencies
        waves = waves[:, waves.sum(axis=0) < lowest]
        order = np.argsort(distinct_keys(derive_seed(seed, "order"), (waves.shape[1],)))
        chosen = waves[:, order[np.arange(filters) % len(order)]]
        pictures = np.ones(filters)
        for size, number in zip(area, chosen, strict=True):
            pictures = pictures[..., None, :] * _half_waves(size)[:, number]
        return _in_channels(pictures, seed, shape)


def _half_waves(size):
    """Cosines of 0, 1, … half waves, `(size, size)`, each of mean square 1."""
    place, frequency = np.arange(size)[:, None], np.arange(size)
    # Whole numbers until the division: the argument is as exact for all.
    waves = cos_pi((2 * place + 1) * frequency % (4 * size) / (2 * size))
    return waves * np.where(frequency == 0, 1, math.sqrt(2))


@_registered
@dataclasses.dataclass(frozen=True)
class Gabor(Basis):
    """Waves under a bell curve, of random direction, frequency and phase, in 1 to 3 dimensions.

    They resemble the receptive fields of simple cells. Each filter has one picture of a fixed
    length (norm), and a random factor for each channel. Its wave is 2 pixels to twice the kernel
    long. The width of its bell curve gives a bandwidth of one octave (a standard deviation of 0.56
    waves).

    Reference:

    - Daugman, *Uncertainty relation for resolution in space, spatial frequency, and orientation
      optimized by two-dimensional visual cortical filters*, 1985
    - [Gabor Convolutional Networks](https://arxiv.org/abs/1705.01450)
    """

    def draw(self, seed: int, shape: tuple[int, ...]) -> np.ndarray:
        *area, _, filters = shape
        drawn = symmetric_uniform(derive_seed(seed, "waves"), (filters, 3)).astype("float64")
        direction, phase = drawn[:, 0], drawn[:, 1]
        lowest = 1 / (2 * max(area))
        frequency = lowest + (0.5 - lowest) * (drawn[:, 2] + 1) / 2  # of waves, per pixel
        along, squares = 0, 0
        for axis, part in enumerate(_parts_of_directions(direction, seed, len(area))):
            place = np.arange(area[axis]) - (area[axis] - 1) / 2
            place = place.reshape(-1, *[1] * (len(area) - axis))
            along, squares = along + place * part, squares + place * place
        spread = 0.56 / frequency
        pictures = exp(-squares / (2 * spread * spread))
        pictures = pictures * cos_pi(2 * frequency * along + phase)
        # NumPy does not promise the order of its sums. This order is fixed.
        energy = sum(row * row for row in pictures.reshape(-1, filters))
        return _in_channels(pictures * np.sqrt(math.prod(area) / energy), seed, shape)


def _parts_of_directions(direction, seed, sides):
    """Returns the parts along each side of directions, uniform numbers from -1 to 1."""
    if sides == 1:
        return [np.ones_like(direction)]
    in_plane = [sin_pi(direction), cos_pi(direction)]
    if sides == 2:
        return in_plane
    # Archimedes: each part of a uniform point on a sphere is uniform.
    up = symmetric_uniform(derive_seed(seed, "up"), direction.shape).astype("float64")
    return [up, *(np.sqrt(1 - up * up) * part for part in in_plane)]


def _in_channels(pictures, seed, shape):
    """Filters of pictures `(*kernel_size, filters)` of mean square 1."""
    channels = scaled_by_fan_in(symmetric_uniform(seed, shape[-2:]), math.prod(shape[:-1]))
    return (pictures[..., None, :] * channels).astype("float32")


def _check_at_least_one(name, value):
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or value < 1:
        raise ValueError(f"`{name}` must be an integer of at least 1. Received: {name}={value!r}")


_BY_NAME = {
    "uniform": Uniform,
    "normal": Normal,
    "orthogonal": Orthogonal,
    "sparse": Sparse,
    "dct": DCT,
    "gabor": Gabor,
}


def get(identifier: str | Basis) -> Basis:
    """Returns a basis from its name, or itself.

    Args:
        identifier: `"uniform"`, `"normal"`, `"orthogonal"`, `"sparse"`, `"dct"`, `"gabor"`, or a
            `Basis`.

    Raises:
        ValueError: If `identifier` is none of these.

    Example:

    >>> keras_lc.bases.get("sparse")
    Sparse(taps=4)
    """
    if isinstance(identifier, Basis):
        return identifier
    if isinstance(identifier, str) and identifier in _BY_NAME:
        return _BY_NAME[identifier]()
    raise ValueError(
        f"`basis` must be one of {tuple(_BY_NAME)} or a `keras_lc.bases.Basis`, such as "
        f"`keras_lc.bases.Sparse(taps=2)`. Received: basis={identifier!r}"
    )

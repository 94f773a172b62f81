"""From a seed to numbers: the same bits under every backend, platform and NumPy version.

`keras.random` draws another stream under each backend, and NumPy promises the stability of its
bit generators' raw output only, not of the floats made from it (NEP 19). So this module makes all
numbers from Philox's raw bits (Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3*, 2011)
with integers and the operations that IEEE 754 rounds in exactly one way: `+ - × ÷ √`. Functions
of C libraries can differ in their last bit, so `cos`, `exp` and `log` are series here.
"""

import math

import numpy as np

# Even, since two numbers come from one word.
_PIECE = 2**16


def symmetric_uniform(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draws float32 numbers from U(-1, 1): a pure function of `seed` and `shape`.

    Each number is an odd multiple of 2^-24, so it is exact in float32, and the values lie
    symmetric about 0, which is not among them.

    Args:
        seed: Integer, at least 0 and below 2^63: Philox's key.
        shape: Tuple of integers.

    Returns:
        A float32 array of that shape.
    """
    values = np.empty(math.prod(shape), "float32")
    generator = np.random.Philox(key=seed)
    # One piece at a time stays in the cache, and needs no memory beside the result.
    for start in range(0, len(values), _PIECE):
        piece = values[start : start + _PIECE]
        words = generator.random_raw((len(piece) + 1) // 2)
        # Explicit little-endian types: the order of the halves must not depend on the platform.
        halves = words.astype("<u8", copy=False).view("<u4")[: len(piece)]
        odd = (halves >> 8).astype(np.int32)
        odd *= 2
        odd -= 2**24 - 1
        np.multiply(odd, np.float32(2.0**-24), out=piece, casting="unsafe")
    return values.reshape(shape)


def scaled_by_fan_in(numbers: np.ndarray, fan_in: int) -> np.ndarray:
    """Multiplies float32 numbers by `1/√fan_in`, in place, and returns them."""
    numbers *= np.float32(1.0 / math.sqrt(fan_in))
    return numbers


def standard_normal(seed: int, count: int) -> np.ndarray:
    """Draws float64 numbers from the normal distribution, each from two uniform ones.

    Reference:

    - Box & Muller, *A Note on the Generation of Random Normal Deviates*, 1958
    """
    values = np.empty(count)
    uniform = symmetric_uniform(seed, (count, 2))
    for start in range(0, count, _PIECE):
        radius, angle = uniform[start : start + _PIECE].T.astype("float64")
        values[start : start + _PIECE] = np.sqrt(-2 * log(np.abs(radius))) * cos_pi(angle)
    return values


def distinct_keys(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draws int64 numbers that differ along the first axis, so that their order is random."""
    odd = (symmetric_uniform(seed, shape) * np.float32(2.0**24)).astype("int64")
    place = np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return odd * shape[0] + place


# --- Functions of float64 arrays ---


def cos_pi(x: np.ndarray) -> np.ndarray:
    """Returns `cos(π · x)`."""
    x = np.abs(x - 2 * np.round(x / 2))
    y = math.pi * (0.5 - x)  # cos(π x) = sin(y), |y| ≤ π/2
    return y * _polynomial(y * y, [(-1) ** k / math.factorial(2 * k + 1) for k in range(10)])


def sin_pi(x: np.ndarray) -> np.ndarray:
    """Returns `sin(π · x)`."""
    return cos_pi(x - 0.5)


def exp(x: np.ndarray) -> np.ndarray:
    """Returns `exp(x)`, of numbers from -64 to 0; of smaller ones `exp(-64)`."""
    power = _polynomial(np.maximum(x, -64) / 256, [1 / math.factorial(k) for k in range(11)])
    for _ in range(8):
        power = power * power
    return power


def log(x: np.ndarray) -> np.ndarray:
    """Returns `log(x)`, of positive numbers."""
    mantissa, exponent = np.frexp(x)
    is_small = mantissa < math.sqrt(0.5)
    mantissa, exponent = np.where(is_small, 2 * mantissa, mantissa), exponent - is_small
    s = (mantissa - 1) / (mantissa + 1)
    series = 2 * s * _polynomial(s * s, [1 / (2 * k + 1) for k in range(11)])
    return exponent * 0.6931471805599453 + series


def _polynomial(x, coefficients):
    value = coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + coefficient
    return value

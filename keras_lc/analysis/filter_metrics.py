"""Metrics of a convolution's filters.

Kernels are arrays, or tensors of any backend, in Keras' layout
`(height, width, channels/groups, filters)`, with one side in 1D and three in 3D. All metrics are
computed in float64.
"""

import math
import numbers
from collections.abc import Iterable

import keras
import numpy as np

from keras_lc.types import Array

# The fit of CNN Filter DB to the entropy of random 3×3 filters.
_LIMIT, _MIDPOINT, _SLOPE, _OFFSET = 1.2618047, 2.30436435, 0.88767525, -0.31050834

# A filter is off if all its weights are below this share of the layer's largest weight.
_OFF = 0.01


def variance_entropy(kernel: Array, normalize: bool = False) -> float:
    """Returns the variance entropy of a kernel: how different its 2-D filters are.

    The kernel's `n = channels/groups · filters` 2-D filters are the rows of a matrix. The mean
    row is subtracted. With the singular values `s` and `p = s² / Σs²`, the entropy is
    `-Σ p · log10 p`. It is 0 if all filters are multiples of one pattern (or equal). It has its
    maximum `log10 k²` if the filters vary equally in every direction.

    Args:
        kernel: Array of shape `(height, width, channels/groups, filters)`.
        normalize: Boolean, whether to divide by `randomness_threshold(n)`. Random filters then
            have a value of 1 or more. Only for 3×3.

    Returns:
        The entropy. It is 0 if the filters vary only by rounding.

    Raises:
        ValueError: If `kernel` has another number of axes, is empty or not finite. If `normalize`
            is true and `kernel` is not 3×3.

    Example:

    >>> edge = np.array([[1.0, 0, -1]] * 3)
    >>> variance_entropy(edge[:, :, None, None] * np.ones((3, 3, 4, 8)))
    0.0

    Reference:

    - [CNN Filter DB](https://arxiv.org/abs/2203.15331)
    """
    array = _checked(kernel, "kernel")
    if normalize and array.shape[:2] != (3, 3):
        raise ValueError(
            "`kernel` must be 3x3 with `normalize=True`: the randomness threshold was only fitted "
            "to 3x3 filters. Pass `normalize=False`. "
            f"Received: a kernel of shape {array.shape}"
        )
    # Scaled, so that the squares neither overflow nor become 0.
    filters = _filters_2d(array) / (np.abs(array).max() or 1.0)
    # Relative to the first filter, so that equal filters give exact zeros.
    varying = filters - filters[0]
    varying -= varying.mean(axis=0)
    if np.linalg.norm(varying) <= _precision(kernel) * np.linalg.norm(filters):
        return 0.0
    entropy = _entropy(np.linalg.svd(varying, compute_uv=False) ** 2) / math.log(10)
    # Two filters vary only in one direction, and their threshold is not positive.
    if normalize and len(filters) > 2:
        entropy /= randomness_threshold(len(filters))
    return entropy


def randomness_threshold(n: int) -> float:
    """Returns the variance entropy above which `n` 3×3 filters count as random.

    The curve `T(n) = L / (1 + exp(-κ · (log2 n - x0))) + b` was fitted to the entropy of random
    3×3 filters. It is not valid for other sizes.

    Args:
        n: Integer, the number of 2-D filters, at least 1.

    Returns:
        The threshold. For one or two filters, it is not positive.

    Raises:
        ValueError: If `n` is not an integer of at least 1.

    Example:

    >>> round(randomness_threshold(4096), 4)
    0.9511

    Reference:

    - [CNN Filter DB](https://arxiv.org/abs/2203.15331)
    """
    if not isinstance(n, numbers.Integral) or n < 1:
        raise ValueError(f"`n` must be an integer of at least 1. Received: n={n!r}")
    return _LIMIT / (1 + math.exp(-_SLOPE * (math.log2(n) - _MIDPOINT))) + _OFFSET


def sparsity(kernel: Array) -> float:
    """Returns the share of 2-D filters that are off.

    A filter is off if its largest |weight| is below 1 % of the kernel's largest |weight|. In a
    kernel of zeros, all filters are off.

    Args:
        kernel: Array of shape `(height, width, channels/groups, filters)`.

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: If `kernel` has another number of axes, is empty or not finite.

    Reference:

    - [CNN Filter DB](https://arxiv.org/abs/2203.15331)
    """
    return _share_off(np.abs(_filters_2d(_checked(kernel, "kernel"))).max(axis=1))


def combination_sparsity(combination: Array) -> float:
    """Returns the share of weights of a combination that are off.

    A weight is off if it is below 1 % of the largest |weight|. A basis filter then hardly
    contributes to a kernel.

    Args:
        combination: Array of shape `(basis filters of a group, filters)`, or the kernel
            `(1, 1, basis filters of a group, filters)` of a 1×1 convolution.

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: If `combination` has another shape, is empty or not finite.
    """
    array = _checked(combination, "combination", (2, 4), f"(basis filters, filters) or {_KERNEL}")
    if array.ndim == 4 and array.shape[:2] != (1, 1):
        raise ValueError(
            "`combination` must have the shape (1, 1, basis filters, filters) if it has 4 axes. "
            f"Received: shape {array.shape}"
        )
    return _share_off(np.abs(array).ravel())


def spatial_variance(kernels: Iterable) -> np.ndarray:
    """Returns the variance of a model's weights at each position in the filters.

    Each layer's kernel is divided by its standard deviation. Then the variance is taken over all
    2-D filters of all layers. The values are near 1. For random filters, they are about equal.

    Args:
        kernels: List of arrays of shape `(height, width, channels/groups, filters)` with equal
            heights and widths, such as `spatial_kernels(model).values()`.

    Returns:
        An array of shape `(height, width)`.

    Raises:
        ValueError: If there are no kernels, or if their sizes differ. If a kernel is constant,
            empty, not finite or has another number of axes.

    Reference:

    - [The Power of Linear Combinations](https://arxiv.org/abs/2301.11360), Section 4.3
    """
    arrays = [_checked(kernel, f"kernels[{i}]") for i, kernel in enumerate(kernels)]
    sizes = sorted({array.shape[:-2] for array in arrays})
    if len(sizes) != 1:
        raise ValueError(
            "`kernels` must be at least one kernel, all with the same height and width. "
            f"Received: {len(arrays)} kernels of the sizes {sizes}"
        )
    stacked = []
    for i, array in enumerate(arrays):
        deviation = array.std()
        if deviation == 0:
            raise ValueError(
                f"`kernels[{i}]` is constant, so its standard deviation is 0. Leave it out."
            )
        stacked.append(_filters_2d(array / deviation))
    return np.concatenate(stacked).var(axis=0).reshape(sizes[0])


def orthogonality(kernel: Array) -> float:
    """Returns 1 minus the mean |cosine| between two different filters of a kernel.

    Here a filter has all the weights of one output channel: `height · width · channels/groups`
    numbers. The value is 1 if all filters are pairwise orthogonal (or there is only one), and 0
    if all are multiples of each other. A filter of zeros counts as orthogonal to all.

    Args:
        kernel: Array of shape `(height, width, channels/groups, filters)`. Filters of different
            groups are compared as if they had the same input channels.

    Returns:
        A number from 0 to 1.

    Raises:
        ValueError: If `kernel` has another number of axes, is empty or not finite.

    Reference:

    - [Adversarial Robustness through the Lens of Convolutional
      Filters](https://arxiv.org/abs/2204.02481)
    """
    columns = _matrix(_checked(kernel, "kernel"))
    filters = columns.shape[1]
    if filters == 1:
        return 1.0
    lengths = np.linalg.norm(columns, axis=0)
    directions = columns / np.where(lengths > 0, lengths, 1)
    cosines = np.abs(directions.T @ directions)
    # Without each filter's cosine with itself.
    others = cosines.sum() - np.trace(cosines)
    return max(0.0, 1 - float(others) / (filters * (filters - 1)))


def gram_spread(basis: Array) -> float:
    """Returns how unequally a basis of random filters treats the directions of a kernel.

    With SGD, a frozen basis `K` acts on the training only by its Gram matrix `K · Kᵀ`: it scales
    the learning rate of each direction of the combined kernels. The value is the standard
    deviation of the eigenvalues of `K · Kᵀ`, divided by their mean. It is 0 if all directions learn
    equally fast, as in `keras_lc.layers.GramLimitConv2D`. For `n` independent filters of `d`
    weights, it is close to `√(d / n)`.

    Args:
        basis: Array of shape `(height, width, channels/groups, filters)`, also a compact one.

    Returns:
        A number from 0 to `√(d - 1)`.

    Raises:
        ValueError: If `basis` has another number of axes, is empty or not finite.

    Example:

    >>> layer = keras_lc.LCConv2D(8, 3, expansion=128, seed=0)
    >>> layer.build((None, 32, 32, 8))
    >>> round(gram_spread(layer.basis), 1)
    0.3
    """
    columns = _matrix(_checked(basis, "basis"))
    # The squares of the singular values, and zeros if there are fewer filters than weights.
    eigenvalues = np.zeros(len(columns))
    singular = np.linalg.svd(columns, compute_uv=False)
    eigenvalues[: len(singular)] = singular**2
    mean = eigenvalues.mean()
    return float(eigenvalues.std() / mean) if mean > 0 else 0.0


def norms(kernel: Array) -> dict[str, float]:
    """Returns norms of the matrix `(height · width · channels/groups, filters)` of a kernel.

    Args:
        kernel: Array of shape `(height, width, channels/groups, filters)`.

    Returns:
        A dict: `frobenius`, the root of the sum of squares; `spectral`, the largest singular
        value of the matrix (the convolution's is larger, because its windows overlap);
        `smallest_filter` and `largest_filter`, the extremes of the filters' Euclidean norms.

    Raises:
        ValueError: If `kernel` has another number of axes, is empty or not finite.
    """
    columns = _matrix(_checked(kernel, "kernel"))
    lengths = np.linalg.norm(columns, axis=0)
    return {
        "frobenius": float(np.linalg.norm(columns)),
        "spectral": float(np.linalg.norm(columns, 2)),
        "smallest_filter": float(lengths.min()),
        "largest_filter": float(lengths.max()),
    }


def effective_rank(kernel: Array) -> float:
    """Returns the effective rank of the matrix `(height · width · channels/groups, filters)`.

    It is `exp(-Σ p · ln p)` with the singular values `s` and `p = s / Σs`. If `r` singular values
    are equal and the others 0, it is `r`. If they are unequal, it is smaller.

    Args:
        kernel: Array of shape `(height, width, channels/groups, filters)`.

    Returns:
        A number from 1 to the smaller side of the matrix; 0 for a kernel of zeros.

    Raises:
        ValueError: If `kernel` has another number of axes, is empty or not finite.

    Example:

    >>> round(effective_rank(np.eye(9).reshape(3, 3, 1, 9)), 12)
    9.0

    Reference:

    - Roy & Vetterli, *The effective rank: a measure of effective dimensionality*, 2007
    """
    columns = _matrix(_checked(kernel, "kernel"))
    if not columns.any():
        return 0.0
    return math.exp(_entropy(np.linalg.svd(columns, compute_uv=False)))


_KERNEL = "(height, width, channels/groups, filters)"


def _checked(values, name, axes=(3, 4, 5), shape=f"{_KERNEL}, in 1D and 3D with 1 and 3 sides"):
    """Returns a float64 array, or raises `ValueError`."""
    array = keras.ops.convert_to_numpy(values)
    if array.ndim not in axes or 0 in array.shape:
        raise ValueError(
            f"`{name}` must have the shape {shape}, without empty axes. "
            f"Received: shape {array.shape}"
        )
    array = array.astype("float64")
    if not np.isfinite(array).all():
        raise ValueError(f"`{name}` must be finite. Received: values with NaN or infinity")
    return array


def _filters_2d(array):
    """Returns a matrix with one row per filter of one channel, in 2D per 2-D filter."""
    return array.reshape(-1, array.shape[-2] * array.shape[-1]).T


def _matrix(array):
    """Returns a matrix with one column per filter, i.e. per output channel."""
    return array.reshape(-1, array.shape[-1])


def _precision(values):
    dtype = keras.backend.standardize_dtype(getattr(values, "dtype", "float64"))
    return {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23}.get(dtype, 2**-52)


def _entropy(weights):
    """Returns the Shannon entropy, in nats, of non-negative numbers scaled to a sum of 1."""
    shares = weights / weights.sum()
    shares = shares[shares > 0]
    # A single share would give -0.0.
    return max(0.0, -float(shares @ np.log(shares)))


def _share_off(largest):
    if not largest.any():
        return 1.0
    return float(np.mean(largest < _OFF * largest.max()))

"""The triangular factor of a random basis. It trains like the basis, at a fraction of the cost.

A basis `K` of `r` filters with `n = height · width · channels` numbers each has, for `r > n`, a
factorization `K = L · Q`: `L` lower triangular, n × n, and `Q` with orthonormal rows. A layer with
basis `L` and combination `V = Q · C` has the kernel of the layer with `K` and `C`, and keeps it
under every optimizer that is linear in the gradient, since `∂V = Q · ∂C` and `Q · Qᵀ = I`.

Frozen LC training, seen from the kernel `W = L · V`: a gradient step of `V` by `Lᵀ · ∂W`
moves it by `L · Lᵀ · ∂W = K · Kᵀ · ∂W`. It is gradient descent on the plain kernel,
preconditioned by the Gram matrix of the basis. With PyTorch's initialisation and growing
expansion that matrix tends to `filters · expansion / (3 · channels · k²)` times the identity: a
learning-rate factor of the layer (4.74 for as many input as output channels, k = 3 and an
expansion of 128), with an initial kernel of variance `1 / (9 · channels · k²)`. All this holds for
any frozen basis; one that does not span all kernels has a factor with columns of zeros.
"""

import numpy as np

from keras_lc.seeds import fingerprint

# With this many filters per number of a filter, independent filters have a condition number below
# 6 (Marchenko and Pastur, 1967). Then the Cholesky factor of the Gram matrix is as exact as a QR
# factorization and several times faster; its error grows with the square of the condition number.
# Large pivots show that this also holds for other bases.
_WELL_CONDITIONED = 2
_LARGE_PIVOT = 0.2
# The share of a row's length that must be orthogonal to the rows before it. Rounding to float32
# leaves 1e-8, which belongs to the row. Rounding to float64 leaves 1e-16, which is noise.
_NO_PIVOT = 1e-12
_PIECE = 4096


def triangular_factor(filters: np.ndarray) -> np.ndarray:
    """Returns `L` of the groups of a basis.

    Args:
        filters: Array of shape `(groups, n, r)`, with `r >= n`: one flattened basis a group.

    Returns:
        A float64 array of shape `(groups, n, n)`, lower triangular. Its diagonal is positive, and
        0 where a row of the basis is a combination of those before, with a column of zeros below:
        which makes it unique.
    """
    if filters.shape[2] >= _WELL_CONDITIONED * filters.shape[1]:
        factor = _cholesky_factor(filters)
        if factor is not None and _smallest_pivot(factor) > _LARGE_PIVOT:
            return factor
    upper = np.linalg.qr(filters.astype("float64").transpose(0, 2, 1), mode="r")
    signs = np.sign(np.diagonal(upper, axis1=1, axis2=2))
    factor = (upper * signs[:, :, None]).transpose(0, 2, 1)
    if _smallest_pivot(factor) > _NO_PIVOT:
        return factor
    return np.stack([_factor_of_dependent_rows(u.T) for u in upper])


def _cholesky_factor(filters):
    pieces = _pieces(filters.shape[2])
    gram = sum(_float64(filters, p) @ _float64(filters, p).transpose(0, 2, 1) for p in pieces)
    try:
        return np.linalg.cholesky(gram)
    except np.linalg.LinAlgError:
        return None


def _smallest_pivot(factor):
    """The smallest share of a row's length that is orthogonal to the rows before it."""
    lengths = np.linalg.norm(factor, axis=2)
    diagonal = np.diagonal(factor, axis1=1, axis2=2)
    return np.divide(diagonal, lengths, out=np.zeros_like(lengths), where=lengths > 0).min()


def _factor_of_dependent_rows(rows):
    """Gram and Schmidt's factor, which leaves out what is noise in a QR factorization."""
    factor, directions = np.zeros_like(rows), np.zeros_like(rows)
    for k, row in enumerate(rows):
        left = row
        for _ in range(2):  # "Twice is enough" to be orthogonal to the last digit (Kahan).
            known = directions @ left
            factor[k] += known
            left = left - known @ directions
        own = np.linalg.norm(left)
        if own > _NO_PIVOT * np.linalg.norm(row):
            factor[k, k] = own
            directions[k] = left / own
    return factor


def solve_combination(
    factor: np.ndarray, filters: np.ndarray, combination: np.ndarray
) -> np.ndarray:
    """Returns `V = Q · C = L⁻¹ · K · C`, with which `L` has the kernel that `K` has with `C`.

    Args:
        factor: Array of shape `(groups, n, n)`.
        filters: Array of shape `(groups, n, r)`.
        combination: Array of shape `(groups, r, filters of a group)`.

    Returns:
        A float64 array of shape `(groups, n, filters of a group)`.
    """
    pieces = _pieces(filters.shape[2])
    kernel = sum(_float64(filters, p) @ combination[:, p].astype("float64") for p in pieces)
    # A row without a pivot has no effect. Its result is 0.
    has_none = np.diagonal(factor, axis1=1, axis2=2) == 0
    return np.linalg.solve(factor + has_none[:, :, None] * np.eye(factor.shape[1]), kernel)


def least_squares_combination(filters: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Returns the least-squares solution `C` of `filters · C = kernel`, in each group.

    Args:
        filters: Array of shape `(groups, n, r)`, with `r >= n`.
        kernel: Array of shape `(groups, n, filters of a group)`.

    Returns:
        A float64 array of shape `(groups, r, filters of a group)`.
    """
    filters = filters.astype("float64")
    transposed = filters.transpose(0, 2, 1)
    # The Gram matrix squares the condition number, to 1e8 at worst. In float64 the error is then
    # 1e-8, below float32's rounding. A factorization of the basis would take ten times as long.
    return transposed @ np.linalg.solve(filters @ transposed, kernel.astype("float64"))


def _pieces(count):
    """Slices of the filters, so that only some are converted to float64 at a time."""
    return [slice(start, start + _PIECE) for start in range(0, count, _PIECE)]


def _float64(filters, piece):
    return filters[:, :, piece].astype("float64")


def by_group(values: np.ndarray, groups: int) -> np.ndarray:
    """Splits the last axis into groups and flattens the others: `(groups, …, last / groups)`."""
    flat = values.reshape(-1, groups, values.shape[-1] // groups)
    return flat.transpose(1, 0, 2)


def from_groups(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Undoes `by_group`."""
    # A view would not be contiguous. PyTorch keeps its strides, and safetensors refuses them.
    return np.ascontiguousarray(values.transpose(1, 0, 2).reshape(shape))


def factor_of(numbers: np.ndarray, groups: int) -> np.ndarray:
    """Returns the triangular factor of random filters `(height, width, channels, filters)`.

    It keeps the last factor: a layer needs it twice when it is built, for its basis and for its
    combination.
    """
    key = (fingerprint(numbers), numbers.shape, groups)
    if key not in _LAST_FACTOR:
        factor = triangular_factor(by_group(numbers, groups))
        factor.flags.writeable = False
        _LAST_FACTOR.clear()
        _LAST_FACTOR[key] = factor
    return _LAST_FACTOR[key]


_LAST_FACTOR = {}

"""Against closed forms."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.analysis import (
    combination_sparsity,
    effective_rank,
    gram_spread,
    norms,
    orthogonality,
    randomness_threshold,
    sparsity,
    spatial_variance,
    variance_entropy,
)

pytestmark = pytest.mark.once

EDGE = np.array([[1.0, 0.0, -1.0]] * 3)
ON_KERNELS = [variance_entropy, sparsity, orthogonality, norms, effective_rank]


def isotropic(k, scale=1.0):
    """±1 at each of the k² places in turn: the mean is 0 and each direction varies equally."""
    places = np.eye(k * k).reshape(k, k, 1, k * k)
    return scale * np.concatenate([places, -places], axis=-1)


def random_kernel(*shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape)


# --- variance entropy ---


def test_one_repeated_filter_has_entropy_0():
    # 0.1 · EDGE: its mean over 96 filters is rounded, and would leave a variance of 1e-17.
    kernel = np.broadcast_to(0.1 * EDGE[:, :, None, None] + 0.3, (3, 3, 8, 12))
    assert variance_entropy(kernel) == 0
    assert variance_entropy(kernel, normalize=True) == 0


def test_multiples_of_one_filter_have_entropy_0():
    kernel = EDGE[:, :, None, None] * np.random.default_rng(0).normal(size=(4, 8))
    assert variance_entropy(kernel) == pytest.approx(0, abs=1e-12)


def test_float32_rounding_of_a_repeated_filter_is_no_variance():
    kernel = np.full((3, 3, 16, 16), 0.3, "float32")
    kernel[1, 1, 0] = kernel[0, 2, 1] = np.nextafter(np.float32(0.3), np.float32(1))
    assert variance_entropy(kernel) == 0
    assert variance_entropy(kernel.astype("float64")) > 0


@pytest.mark.parametrize("k", [2, 3, 5, 9])
@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_isotropic_filters_have_entropy_log10_of_k_squared(k, scale):
    assert variance_entropy(isotropic(k, scale)) == pytest.approx(np.log10(k * k), rel=1e-12)


def test_two_orthogonal_patterns_of_known_variance():
    # ±3 at one place and ±4 at another: shares of 9/25 and 16/25.
    kernel = np.zeros((3, 3, 1, 4))
    kernel[0, 0, 0, :2] = 3, -3
    kernel[2, 1, 0, 2:] = 4, -4
    expected = -(9 / 25 * np.log10(9 / 25) + 16 / 25 * np.log10(16 / 25))
    assert variance_entropy(kernel) == pytest.approx(expected, rel=1e-12)


def test_a_pattern_common_to_all_filters_does_not_count():
    common = random_kernel(3, 3, 1, 1)
    assert variance_entropy(isotropic(3) + common) == pytest.approx(np.log10(9), rel=1e-12)


def test_filters_are_2d_whatever_their_channel():
    kernel = random_kernel(3, 3, 6, 4)
    shuffled = kernel.reshape(3, 3, 24)[..., np.random.default_rng(1).permutation(24)]
    expected = variance_entropy(kernel)
    assert variance_entropy(shuffled.reshape(3, 3, 2, 12)) == pytest.approx(expected, rel=1e-12)


def test_entropy_equals_that_of_the_eigenvalues_of_the_covariance():
    kernel = random_kernel(3, 3, 5, 7)
    eigenvalues = np.linalg.eigvalsh(np.cov(kernel.reshape(9, -1)))
    shares = eigenvalues / eigenvalues.sum()
    expected = -np.sum(shares * np.log10(shares))
    assert variance_entropy(kernel) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("filters", [1, 2])
def test_one_and_two_filters_have_entropy_0(filters):
    for normalize in (False, True):
        kernel = random_kernel(3, 3, 1, filters)
        assert variance_entropy(kernel, normalize=normalize) == pytest.approx(0, abs=1e-12)


def test_random_filters_have_a_normalized_entropy_of_about_1():
    assert variance_entropy(random_kernel(3, 3, 64, 64), normalize=True) == pytest.approx(
        1, abs=0.01
    )


def test_normalized_is_divided_by_the_threshold_of_the_number_of_2d_filters():
    kernel = random_kernel(3, 3, 4, 4)
    expected = variance_entropy(kernel) / randomness_threshold(16)
    assert variance_entropy(kernel, normalize=True) == expected


@pytest.mark.parametrize("shape", [(5, 5, 2, 4), (1, 3, 2, 4)])
def test_other_sizes_than_3x3_are_not_normalized(shape):
    with pytest.raises(ValueError, match=r"fitted to 3x3 .* Received: a kernel of shape \("):
        variance_entropy(random_kernel(*shape), normalize=True)


@pytest.mark.parametrize(
    ("n", "expected"),
    # The formula in decimal arithmetic; for many filters it tends to L + b.
    [(1, -0.1660252495), (16, 0.7220830538), (4096, 0.9510656192), (2**60, 0.95129636)],
)
def test_threshold_at_known_n(n, expected):
    assert randomness_threshold(n) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("n", [0, 2.5, "9"])
def test_threshold_needs_a_number_of_filters(n):
    with pytest.raises(ValueError, match=r"`n` must be an integer of at least 1\. Received: n="):
        randomness_threshold(n)


# --- sparsity ---


def test_filters_below_a_hundredth_of_the_largest_weight_are_off():
    kernel = np.zeros((3, 3, 2, 4))
    kernel[0, 0] = [[-2.0, 0.0200001, 0.0199999, 0.0], [0.5, 0.001, -0.019, 0.02]]
    # On: -2, 0.0200001, 0.5 and 0.02, which is 1 % and not below.
    assert sparsity(kernel) == 4 / 8


def test_sparsity_is_a_matter_of_the_largest_weight_of_a_filter():
    kernel = np.full((3, 3, 1, 2), 0.009)
    kernel[0, 0, 0, 0] = 1.0
    assert sparsity(kernel) == 1 / 2


def test_a_kernel_of_zeros_is_sparse():
    assert sparsity(np.zeros((3, 3, 2, 2))) == 1


def test_combinations_are_sparse_weight_by_weight():
    combination = np.array([[1.0, 0.0, 0.5], [-0.009, 0.02, 0.001]])
    assert combination_sparsity(combination) == 3 / 6
    assert combination_sparsity(combination[None, None]) == 3 / 6


@pytest.mark.parametrize("shape", [(4,), (3, 3, 4, 4), (2, 4, 4)])
def test_a_combination_is_a_matrix_or_the_kernel_of_a_pointwise_convolution(shape):
    with pytest.raises(ValueError, match=r"`combination` must .*Received: shape"):
        combination_sparsity(np.ones(shape))


# --- spatial variance ---


def test_spatial_variance_of_known_variances():
    # Three filters 0, 0, 3a at a place have variance 2a² there.
    scales = np.arange(1.0, 10.0)
    kernel = np.zeros((3, 3, 1, 3))
    kernel[..., 0, 2] = 3 * scales.reshape(3, 3)
    expected = 2 * scales.reshape(3, 3) ** 2 / kernel.var()
    np.testing.assert_allclose(spatial_variance([kernel]), expected, rtol=1e-12)


def test_spatial_variance_does_not_see_the_scale_of_a_layer():
    kernels = [random_kernel(5, 5, 2, 8, seed=i) for i in range(3)]
    scaled = [kernel * scale for kernel, scale in zip(kernels, (1e-3, 1, 1e3), strict=True)]
    np.testing.assert_allclose(spatial_variance(kernels), spatial_variance(scaled), rtol=1e-12)


def test_spatial_variance_of_random_filters_is_1_everywhere():
    kernels = (random_kernel(3, 3, 64, 64, seed=i) for i in range(2))
    np.testing.assert_allclose(spatial_variance(kernels), np.ones((3, 3)), atol=0.05)


def test_spatial_variance_needs_kernels_of_one_size():
    with pytest.raises(ValueError, match=r"2 kernels of the sizes \[\(3, 3\), \(5, 5\)\]"):
        spatial_variance([random_kernel(k, k, 1, 2) for k in (3, 5)])
    with pytest.raises(ValueError, match="0 kernels"):
        spatial_variance([])


def test_spatial_variance_refuses_a_constant_kernel():
    with pytest.raises(ValueError, match=r"`kernels\[1\]` is constant"):
        spatial_variance([random_kernel(3, 3, 1, 2), np.ones((3, 3, 1, 2))])


# --- orthogonality, norms, effective rank ---


def orthonormal(rows, columns, seed=0):
    return np.linalg.qr(random_kernel(rows, columns, seed=seed))[0]


def test_orthogonal_filters_of_any_lengths_have_orthogonality_1():
    columns = orthonormal(18, 10) * np.geomspace(1e-3, 1e3, 10)
    assert orthogonality(columns.reshape(3, 3, 2, 10)) == pytest.approx(1, abs=1e-12)


def test_multiples_of_one_filter_have_orthogonality_0():
    columns = np.outer(random_kernel(18), [1.0, -2.0, 3e-3])
    assert orthogonality(columns.reshape(3, 3, 2, 3)) == pytest.approx(0, abs=1e-12)


def test_orthogonality_is_1_minus_the_mean_absolute_cosine():
    # Three filters in a plane at 0°, 60° and 180°: cosines 1/2, -1, -1/2.
    kernel = np.zeros((3, 3, 1, 3))
    kernel[0, 0, 0] = 1.0, 0.5, -2.0
    kernel[2, 2, 0] = 0.0, np.sqrt(0.75), 0.0
    assert orthogonality(kernel) == pytest.approx(1 - (0.5 + 1 + 0.5) / 3, abs=1e-12)


def test_a_filter_of_zeros_and_a_single_filter_are_orthogonal():
    kernel = np.zeros((3, 3, 1, 2))
    kernel[1, 1, 0, 0] = 2.0
    assert orthogonality(kernel) == 1
    assert orthogonality(kernel[..., :1]) == 1


def with_spectrum(values):
    left, right = orthonormal(18, len(values)), orthonormal(12, len(values), seed=1)
    return (left * values @ right.T).reshape(3, 3, 2, 12)


def test_norms_of_a_known_spectrum():
    found = norms(with_spectrum([12.0, 4.0, 3.0]))
    assert found["spectral"] == pytest.approx(12, rel=1e-12)
    assert found["frobenius"] == pytest.approx(13, rel=1e-12)


def test_norms_of_single_filters():
    kernel = np.zeros((3, 3, 1, 2))
    kernel[0, :2, 0, 0] = 3, 4
    kernel[0, 0, 0, 1] = -2
    found = norms(kernel)
    assert found["smallest_filter"] == pytest.approx(2, rel=1e-12)
    assert found["largest_filter"] == pytest.approx(5, rel=1e-12)


@pytest.mark.parametrize("rank", [1, 4, 12])
@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_effective_rank_of_equal_singular_values_is_their_number(rank, scale):
    kernel = with_spectrum(np.full(rank, scale))
    assert effective_rank(kernel) == pytest.approx(rank, rel=1e-9)


def test_effective_rank_of_a_known_spectrum():
    # Shares 1/2, 1/4, 1/4: an entropy of 3/2 bits.
    assert effective_rank(with_spectrum([6.0, 3.0, 3.0])) == pytest.approx(2**1.5, rel=1e-9)


def test_a_kernel_of_zeros_has_effective_rank_0():
    assert effective_rank(np.zeros((3, 3, 2, 2))) == 0


# --- what all take and refuse ---


@pytest.mark.parametrize("metric", ON_KERNELS)
def test_a_tensor_and_a_variable_give_what_their_array_gives(metric):
    array = random_kernel(3, 3, 2, 4).astype("float32")
    variable = keras.Variable(array)
    assert metric(variable) == metric(variable.value) == metric(array)


@pytest.mark.parametrize("metric", ON_KERNELS)
@pytest.mark.parametrize("area", [(12,), (2, 3, 2)])
def test_filters_of_other_dimensions_are_measured_by_their_numbers(metric, area):
    kernel = random_kernel(3, 4, 2, 5)
    assert metric(kernel.reshape(*area, 2, 5)) == metric(kernel)


@pytest.mark.parametrize("metric", ON_KERNELS)
@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 0, 4), (1, 2, 3, 3, 4, 4)])
def test_a_kernel_has_3_to_5_axes_and_is_not_empty(metric, shape):
    with pytest.raises(ValueError, match=r"`kernel` must have the shape \(height.*Received: shape"):
        metric(np.ones(shape))


@pytest.mark.parametrize("metric", ON_KERNELS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_kernel_that_is_not_finite_is_refused(metric, value):
    kernel = random_kernel(3, 3, 2, 4)
    kernel[0, 1, 1, 2] = value
    with pytest.raises(ValueError, match="`kernel` must be finite"):
        metric(kernel)


def test_gram_spread_is_that_of_marchenko_and_pastur_for_independent_filters():
    layer = keras_lc.LCConv2D(32, 3, expansion=32, seed=0)
    layer.build((None, 8, 8, 32))
    assert gram_spread(layer.basis) == pytest.approx((9 * 32 / 32**2) ** 0.5, rel=0.02)


def test_gram_spread_of_the_compact_form_is_that_of_its_filters():
    full, compact = (
        keras_lc.LCConv2D(8, 3, expansion=16, seed=0, compact=compact) for compact in (False, True)
    )
    for layer in (full, compact):
        layer.build((None, 8, 8, 4))
    assert gram_spread(compact.basis) == pytest.approx(gram_spread(full.basis), rel=1e-5)


@pytest.mark.parametrize(
    "eigenvalues, spread", [([4, 4, 4, 4], 0), ([1, 3, 1, 3], 0.5), ([5, 0, 0, 0], 3**0.5)]
)
def test_gram_spread_is_the_deviation_of_the_eigenvalues(eigenvalues, spread):
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(4, 4)))[0]
    basis = (rotation * np.sqrt(eigenvalues)).reshape(2, 2, 1, 4)
    assert gram_spread(basis) == pytest.approx(spread, abs=1e-7)
    assert gram_spread(np.zeros((3, 3, 2, 4))) == 0


def test_directions_without_a_filter_count_in_the_gram_spread():
    assert gram_spread(np.eye(4)[:, :2].reshape(2, 2, 1, 2)) == pytest.approx(1)

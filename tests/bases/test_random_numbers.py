"""From a seed to numbers, against an independent Philox in Python integers."""

import hashlib

import numpy as np
import pytest

from keras_lc.bases.random_numbers import (
    cos_pi,
    distinct_keys,
    exp,
    log,
    sin_pi,
    standard_normal,
    symmetric_uniform,
)

pytestmark = pytest.mark.once

MASK = 2**64 - 1


def philox4x64(key, block):
    """Ten rounds of Philox (Salmon et al., 2011, Section 3.2): four 64-bit words of a counter."""
    c, k = [block, 0, 0, 0], [key & MASK, key >> 64]
    for _ in range(10):
        p0, p1 = c[0] * 0xD2E7470EE14C6C93, c[2] * 0xCA5A826395121157
        c = [(p1 >> 64) ^ c[1] ^ k[0], p1 & MASK, (p0 >> 64) ^ c[3] ^ k[1], p0 & MASK]
        k = [(k[0] + 0x9E3779B97F4A7C15) & MASK, (k[1] + 0xBB67AE8584CAA73B) & MASK]
    return c


def uniform_by_definition(seed, count):
    halves = []
    for block in range(1, count // 8 + 2):  # NumPy counts before it draws
        for word in philox4x64(seed, block):
            halves += [word & 0xFFFFFFFF, word >> 32]
    return [(2 * (half >> 8) + 1 - 2**24) / 2**24 for half in halves[:count]]


@pytest.mark.parametrize("seed", [0, 1, 2**32 + 5, 2**63 - 1])
def test_numbers_are_philoxs_top_24_bits(seed):
    np.testing.assert_array_equal(symmetric_uniform(seed, (37,)), uniform_by_definition(seed, 37))


def test_bits_do_not_change():
    values = symmetric_uniform(2301, (3, 3, 16, 128))
    assert values.dtype == np.float32
    digest = hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()
    assert digest[:32] == "c1d6c822cdfeff8ce0510de5cbbc2830"


def test_numbers_are_odd_multiples_of_2_to_the_minus_24():
    values = symmetric_uniform(1, (100_000,)).astype("float64") * 2**24
    np.testing.assert_array_equal(values % 2, 1)
    assert np.abs(values).max() < 2**24


def test_numbers_are_uniform():
    values = symmetric_uniform(1, (1_000_000,)).astype("float64")
    n = len(values)
    assert abs(values.mean()) < 4 * np.sqrt(1 / 3 / n)
    assert abs(values.var() - 1 / 3) < 4 * np.sqrt(4 / 45 / n)
    counts = np.histogram(values, 100, (-1, 1))[0]
    assert ((counts - n / 100) ** 2 / (n / 100)).sum() < 160  # 99 degrees of freedom
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / np.sqrt(n)


def test_shape_only_arranges_the_numbers():
    flat = symmetric_uniform(3, (60,))
    np.testing.assert_array_equal(symmetric_uniform(3, (3, 4, 5)).ravel(), flat)
    np.testing.assert_array_equal(symmetric_uniform(3, (59,)), flat[:59])


def test_functions_are_exact_to_more_digits_than_float32_has():
    x = np.linspace(-9, 9, 10_001)
    np.testing.assert_allclose(cos_pi(x), np.cos(np.pi * x), rtol=0, atol=1e-14)
    np.testing.assert_allclose(sin_pi(x), np.sin(np.pi * x), rtol=0, atol=1e-14)
    x = np.linspace(-64, 0, 10_001)
    np.testing.assert_allclose(exp(x), np.exp(x), rtol=1e-11)
    x = np.geomspace(2.0**-24, 2, 10_001)
    np.testing.assert_allclose(log(x), np.log(x), rtol=0, atol=1e-14)


def test_normal_numbers_are_those_of_box_and_muller():
    radius, angle = symmetric_uniform(4, (500, 2)).astype("float64").T
    expected = np.sqrt(-2 * np.log(np.abs(radius))) * np.cos(np.pi * angle)
    np.testing.assert_allclose(standard_normal(4, 500), expected, rtol=0, atol=1e-13)


def test_normal_numbers_have_the_moments_of_the_normal_distribution():
    values, n = standard_normal(1, 200_000), 200_000
    for power, moment, variance in [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)]:
        assert abs((values**power).mean() - moment) < 4 * np.sqrt(variance / n)


def test_fewer_normal_numbers_are_the_first_ones():
    np.testing.assert_array_equal(standard_normal(3, 70_000)[:9], standard_normal(3, 9))


def test_keys_are_distinct_and_order_at_random():
    keys = distinct_keys(5, (6, 60_000))
    assert keys.dtype == np.int64
    first = np.bincount(keys.argmin(0), minlength=6)
    assert ((first - 10_000) ** 2 / 10_000).sum() < 21  # 5 degrees of freedom
    assert len(set(distinct_keys(5, (4096,)))) == 4096

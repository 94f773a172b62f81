"""Seed → filters, against an independent Philox in Python integers."""

import hashlib

import keras
import numpy as np
import pytest

from keras_lc.layers import FanInUniform
from keras_lc.layers.initializers import fan_in_uniform, symmetric_uniform
from tests import oracles

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


def test_bound_is_one_over_the_root_of_fan_in():
    unit = symmetric_uniform(5, (3, 3, 4, 8))
    np.testing.assert_array_equal(fan_in_uniform(5, unit.shape), unit * np.float32(1 / 6))
    np.testing.assert_array_equal(fan_in_uniform(5, unit.shape, fan_in=9), unit * np.float32(1 / 3))


class TestFanInUniform:
    def test_gives_equal_values_each_time(self):
        initializer = FanInUniform(seed=4)
        first, second = (oracles.numpy(initializer((3, 3, 2, 5))) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, fan_in_uniform(4, (3, 3, 2, 5)))

    def test_config_keeps_a_drawn_seed(self):
        initializer = FanInUniform(fan_in=7)
        config = keras.saving.serialize_keras_object(initializer)
        copy = keras.saving.deserialize_keras_object(config)
        assert (copy.seed, copy.fan_in) == (initializer.seed, 7)

    def test_takes_the_variables_dtype(self):
        values = FanInUniform(seed=4)((3, 5), dtype="bfloat16")
        assert keras.backend.standardize_dtype(values.dtype) == "bfloat16"

    def test_fan_in_must_be_positive(self):
        with pytest.raises(ValueError, match=r"`fan_in` must be at least 1. Received: fan_in=0"):
            FanInUniform(fan_in=0)

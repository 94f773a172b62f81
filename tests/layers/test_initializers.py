"""Initializers: equal values each time, under every backend."""

import keras
import numpy as np
import pytest

from keras_lc.bases.random_numbers import symmetric_uniform
from keras_lc.layers import FanInUniform
from keras_lc.layers.initializers import fan_in_uniform
from tests import oracles


@pytest.mark.once
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

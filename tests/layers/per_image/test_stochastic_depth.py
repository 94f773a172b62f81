"""Residual branches left out for each image, the same under every backend."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.layers import StochasticDepth
from tests import oracles
from tests.layer_test_case import LayerTestCase


class StochasticDepthTest(LayerTestCase):
    def check_channels_first(self, *arguments, **kwargs):
        """It has no data format: the images lie along the first axis."""

    def test_keras_contract(self):
        self.run_layer_test(
            StochasticDepth,
            {"rate": 0.5, "seed": 1},
            input_shape=(2, 6, 7, 3),
            expected_output_shape=(2, 6, 7, 3),
            expected_num_trainable_weights=0,
            expected_num_non_trainable_weights=0,
            expected_num_seed_generators=1,
            run_training_check=False,
        )


def trained(layer, x):
    return oracles.numpy(layer(x, training=True))


def kept(layer, count):
    return trained(layer, np.ones((count, 1), "float32"))[:, 0] > 0


def test_inference_returns_its_input():
    x = oracles.images(4, 5, 5, 3)
    np.testing.assert_array_equal(oracles.numpy(StochasticDepth(0.9, seed=0)(x)), x)


def test_an_image_is_left_out_whole_or_scaled_whole():
    x = oracles.images(64, 5, 4, 3)
    result = trained(StochasticDepth(0.25, seed=0), x)
    zero = (result == 0).all((1, 2, 3))
    assert 4 < zero.sum() < 32
    np.testing.assert_allclose(result[~zero], x[~zero] / 0.75, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.05, 0.5, 0.9])
def test_rate_is_the_share_that_is_left_out_and_the_mean_stays(rate):
    n = 20_000
    result = trained(StochasticDepth(rate, seed=3), np.ones((n, 1), "float32"))
    deviation = (rate * (1 - rate) / n) ** 0.5
    assert abs((result == 0).mean() - rate) < 4 * deviation
    assert abs(result.mean() - 1) < 4 * deviation / (1 - rate)


def test_rate_0_leaves_out_none():
    assert kept(StochasticDepth(0.0, seed=0), 1000).all()


def test_batches_and_seeds_differ_and_one_seed_is_one_sequence():
    layer, same, other = (StochasticDepth(0.5, seed=seed) for seed in (5, 5, 6))
    first, second = kept(layer, 64), kept(layer, 64)
    np.testing.assert_array_equal(kept(same, 64), first)
    assert (first != second).any() and (kept(other, 64) != first).any()


def test_draws_are_the_same_under_every_backend():
    layer = StochasticDepth(0.5, seed=123456789)
    drawn = ["".join("01"[int(k)] for k in kept(layer, 16)) for _ in range(2)]
    assert drawn == ["1001110110010100", "0110101100110010"]


def test_saved_model_goes_on_with_the_draws_that_were_next(tmp_path):
    x = oracles.images(32, 4)
    model = keras.Sequential([keras.Input((4,)), StochasticDepth(0.5, seed=3)])
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        oracles.numpy(loaded(x, training=True)), oracles.numpy(model(x, training=True))
    )


def test_jit_stays_on_and_fit_counts_its_batches():
    layer = StochasticDepth(0.5, seed=7)
    model = keras.Sequential([keras.Input((6,)), layer, keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    model.fit(oracles.images(12, 6), np.zeros((12, 2)), batch_size=4, verbose=0)
    assert layer.supports_jit
    assert model.jit_compile or keras.backend.backend() != "jax"
    assert oracles.numpy(layer.seed_generator.state).tolist() == [7, 3]


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_stays_half(policy):
    layer = StochasticDepth(0.5, seed=0, dtype=policy)
    result = layer(np.ones((4, 3), "float32"), training=True)
    assert keras.backend.standardize_dtype(result.dtype) == policy.removeprefix("mixed_")


@pytest.mark.once
def test_fold_leaves_it_out():
    inputs = keras.Input((4,))
    branch = StochasticDepth(0.5)(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, keras.layers.Add()([inputs, branch]))
    folded = keras_lc.fold(model)
    assert not any(isinstance(layer, StochasticDepth) for layer in folded.layers)
    x = oracles.images(2, 4)
    np.testing.assert_array_equal(oracles.numpy(folded(x)), oracles.numpy(model(x)))


@pytest.mark.once
@pytest.mark.parametrize("rate", [-0.1, 1, 1.5, "0.5", True])
def test_rate_must_be_a_probability_below_1(rate):
    with pytest.raises(ValueError, match=rf"`rate` must be at least 0 and below 1.*{rate}"):
        StochasticDepth(rate)


@pytest.mark.once
def test_seed_must_fit_every_backend():
    with pytest.raises(ValueError, match=r"`seed` must be below 2\*\*31.*2147483648"):
        StochasticDepth(0.5, seed=2**31)

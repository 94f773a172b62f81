import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.layers import GramLimitConv2D
from keras_lc.training import SGD
from tests import oracles
from tests.layer_test_case import LayerTestCase


class GramLimitConv2DTest(LayerTestCase):
    init = {"filters": 6, "kernel_size": 3, "expansion": 16, "seed": 0}  # noqa: RUF012

    def test_keras_contract(self):
        self.run_layer_test(
            GramLimitConv2D,
            self.init,
            input_shape=(2, 6, 7, 3),
            expected_output_shape=(2, 4, 5, 6),
            expected_num_trainable_weights=2,
            expected_num_non_trainable_weights=0,
        )

    def test_dtype_policies(self):
        self.run_dtype_policy_test(GramLimitConv2D, self.init, input_shape=(2, 6, 7, 3))

    def test_eager_graph_and_compiled_steps_agree(self):
        self.run_execution_test(GramLimitConv2D, self.init, input_shape=(2, 6, 7, 3))


def conv(layer, shape=(9, 8, 4)):
    return keras.Sequential([keras.Input(shape), layer])


@pytest.mark.parametrize("groups", [1, 2])
def test_starts_with_the_variance_of_an_lc_kernel(groups):
    layer = GramLimitConv2D(64, 3, expansion=32, groups=groups, seed=0)
    conv(layer, (8, 8, 16))
    expected = 1 / (9 * 16 / groups * 9)
    np.testing.assert_allclose(oracles.numpy(layer.kernel).var(), expected, rtol=0.05)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_step_moves_the_kernel_the_factor_times_as_far_as_a_plain_one(groups):
    layer = GramLimitConv2D(6, 3, expansion=16, groups=groups, use_bias=False, seed=0)
    model, plain = conv(layer), conv(keras.layers.Conv2D(6, 3, groups=groups, use_bias=False))
    start = oracles.numpy(layer.kernel)
    plain.layers[0].kernel.assign(start)
    x, y = oracles.images(4, 9, 8, 4), oracles.images(4, 7, 6, 6, seed=1)
    for network in (model, plain):
        network.compile(SGD(0.01), "mse")
        network.fit(x, y, batch_size=4, verbose=0)
    factor = (6 * 16 / groups) / (3 * 9 * 4 / groups)
    moved, plain_moved = (
        oracles.numpy(network.layers[0].kernel) - start for network in (model, plain)
    )
    np.testing.assert_allclose(moved, factor * plain_moved, rtol=1e-4, atol=1e-7)


def test_weight_decay_acts_as_on_a_plain_kernel():
    layer = GramLimitConv2D(6, 3, expansion=16, use_bias=False, seed=0)
    model = conv(layer)
    start = oracles.numpy(layer.kernel)
    model.compile(SGD(0.1, weight_decay=0.5), "mse")
    x = np.zeros((2, 9, 8, 4), "float32")
    model.fit(x, np.zeros((2, 7, 6, 6), "float32"), verbose=0)
    np.testing.assert_allclose(oracles.numpy(layer.kernel), 0.95 * start, rtol=1e-6)


def test_learns_as_an_lc_layer_of_many_filters():
    """From one kernel, the steps of both agree the better, the more filters there are."""
    x, y = oracles.images(16, 6, 6, 2), oracles.images(16, 4, 4, 4, seed=1)
    differences = []
    for expansion in (64, 4096):
        lc = keras_lc.LCConv2D(4, 3, expansion=expansion, compact=True, use_bias=False, seed=0)
        limit = GramLimitConv2D(4, 3, expansion=expansion, use_bias=False, seed=0)
        models = [conv(lc, (6, 6, 2)), conv(limit, (6, 6, 2))]
        kernel = oracles.numpy(lc.kernel)
        limit.set_weights([kernel / np.sqrt(limit.learning_rate_factor)])
        for model in models:
            model.compile(SGD(0.1 / limit.learning_rate_factor, momentum=0.9), "mse")
            model.fit(x, y, batch_size=16, epochs=10, verbose=0)
        moved = oracles.numpy(lc.kernel) - kernel
        differences.append(
            np.linalg.norm(oracles.numpy(limit.kernel) - oracles.numpy(lc.kernel))
            / np.linalg.norm(moved)
        )
    assert differences[1] < 0.05 and differences[1] < differences[0] / 4


def test_folds_to_a_plain_convolution():
    model = conv(GramLimitConv2D(6, 3, expansion=16, seed=0))
    folded = keras_lc.fold(model)
    assert type(folded.layers[0]) is keras.layers.Conv2D
    x = oracles.images(2, 9, 8, 4)
    np.testing.assert_array_equal(oracles.numpy(folded(x)), oracles.numpy(model(x)))


def test_lora_is_refused():
    with pytest.raises(ValueError, match="takes no `lora_rank`"):
        GramLimitConv2D(4, 3, lora_rank=2)
    layer = GramLimitConv2D(4, 3, name="conv")
    with pytest.raises(NotImplementedError, match="layer 'conv'"):
        layer.enable_lora(2)


@pytest.mark.once
def test_is_the_limit_and_not_the_equal_of_128_random_filters_a_channel():
    lc = keras_lc.LCConv2D(8, 3, expansion=128, use_bias=False, seed=0)
    conv(lc, (6, 6, 8))
    basis = oracles.numpy(lc.basis).astype("float64").reshape(9 * 8, 8 * 128)
    eigenvalues = np.linalg.eigvalsh(basis @ basis.T)
    spread = eigenvalues[[0, -1]] / eigenvalues.mean()
    # What Marchenko and Pastur found of large random matrices of this shape: 0.540 and 1.601.
    expected = [(1 + sign * (72 / 1024) ** 0.5) ** 2 for sign in (-1, 1)]
    np.testing.assert_allclose(spread, expected, atol=0.04)

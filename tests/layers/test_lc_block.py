import keras
import numpy as np
import pytest
from absl.testing import parameterized

from keras_lc.layers import LCBlock
from tests import oracles
from tests.layer_test_case import LayerTestCase


class LCBlockTest(LayerTestCase):
    @parameterized.named_parameters(
        ("relu", "relu", True, 1, 1),
        ("bn", "bn", True, 3, 3),
        ("bn_relu", "bn_relu", True, 3, 3),
        ("learned", "bn_relu", False, 4, 2),
    )
    def test_keras_contract(self, between, frozen, trainable, non_trainable):
        self.run_layer_test(
            LCBlock,
            {
                "filters": 5, "kernel_size": 3, "between": between, "frozen": frozen,
                "expansion": 2, "strides": 2, "padding": "same", "seed": 0,
            },
            input_shape=(2, 6, 7, 3),
            expected_output_shape=(2, 3, 4, 5),
            expected_num_trainable_weights=trainable,
            expected_num_non_trainable_weights=non_trainable,
        )  # fmt: skip

    def test_dtype_policies(self):
        init = {"filters": 5, "kernel_size": 3, "between": "bn_relu", "seed": 0}
        self.run_dtype_policy_test(LCBlock, init, input_shape=(2, 6, 7, 3))

    def test_eager_graph_and_compiled_steps_agree(self):
        init = {"filters": 5, "kernel_size": 3, "between": "bn_relu", "seed": 0}
        self.run_execution_test(LCBlock, init, input_shape=(2, 6, 7, 3))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("between", ["relu", "bn", "bn_relu"])
def test_equals_its_steps_in_numpy(between, training):
    block = LCBlock(4, 3, between, expansion=3, seed=2)
    x = oracles.images(2, 7, 6, 3)
    block.build(x.shape)
    features = oracles.conv2d(x, oracles.numpy(block.basis_conv.kernel))
    if "bn" in between:
        gamma, beta, mean = (oracles.images(12, seed=i) for i in range(3))
        variance = np.abs(oracles.images(12, seed=3)) + 0.5
        block.batch_norm.set_weights([gamma, beta, mean, variance])
        if training:
            mean, variance = features.mean((0, 1, 2)), features.var((0, 1, 2))
        features = (features - mean) / np.sqrt(variance + 1e-5) * gamma + beta
    if "relu" in between:
        features = np.maximum(features, 0)
    expected = oracles.conv2d(features, oracles.numpy(block.combination_conv.kernel))
    oracles.assert_close(block(x, training=training), expected)


def test_frozen_basis_stays_and_all_else_moves():
    block = LCBlock(4, 3, "bn_relu", expansion=2, seed=2)
    model = keras.Sequential([keras.Input((6, 6, 3)), block])
    frozen = oracles.numpy(block.basis_conv.kernel).copy()
    trained = [oracles.numpy(v).copy() for v in model.trainable_variables]
    model.compile(keras.optimizers.SGD(0.1, weight_decay=0.1), "mse")
    model.fit(oracles.images(4, 6, 6, 3), np.ones((4, 4, 4, 4), "float32"), verbose=0)
    np.testing.assert_array_equal(oracles.numpy(block.basis_conv.kernel), frozen)
    for variable, before in zip(model.trainable_variables, trained, strict=True):
        assert np.abs(oracles.numpy(variable) - before).max() > 0


def test_clone_has_the_basis_of_the_file_that_was_loaded(tmp_path):
    model, other = (
        keras.Sequential([keras.Input((6, 6, 3)), LCBlock(4, 3, "relu", seed=seed)])
        for seed in (2, 3)
    )
    model.save_weights(tmp_path / "model.weights.h5")
    other.load_weights(tmp_path / "model.weights.h5")
    clone = keras.models.clone_model(other)
    np.testing.assert_array_equal(
        oracles.numpy(clone.layers[0].basis_conv.kernel),
        oracles.numpy(model.layers[0].basis_conv.kernel),
    )


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"between": "gelu"}, r"`between` must be one of .*'gelu'"),
        ({"between": "bn", "expansion": 0}, r"`expansion` must be .*expansion=0"),
        ({"between": "bn", "seed": -1}, r"`seed` must be at least 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        LCBlock(4, 3, **arguments)

import keras
import numpy as np
import pytest

from keras_lc.layers import FrozenDepthwiseConv2D
from tests import oracles
from tests.layer_test_case import LayerTestCase


class FrozenDepthwiseConv2DTest(LayerTestCase):
    init = {"kernel_size": 3, "depth_multiplier": 2, "seed": 0}  # noqa: RUF012

    def test_keras_contract(self):
        self.run_layer_test(
            FrozenDepthwiseConv2D,
            self.init,
            input_shape=(2, 6, 7, 3),
            expected_output_shape=(2, 4, 5, 6),
            expected_num_trainable_weights=1,
            expected_num_non_trainable_weights=1,
        )

    def test_dtype_policies(self):
        self.run_dtype_policy_test(FrozenDepthwiseConv2D, self.init, input_shape=(2, 6, 7, 3))

    def test_eager_graph_and_compiled_steps_agree(self):
        self.run_execution_test(FrozenDepthwiseConv2D, self.init, input_shape=(2, 6, 7, 3))


def make(**arguments):
    layer = FrozenDepthwiseConv2D(**{"kernel_size": 3, "seed": 1, **arguments})
    layer.build((None, 9, 8, 4))
    return layer


@pytest.mark.parametrize(
    "geometry",
    [{}, {"padding": "same", "strides": 2}, {"depth_multiplier": 3}, {"dilation_rate": 2}],
)
def test_equals_a_grouped_convolution_in_numpy(geometry):
    layer, x = make(**geometry), oracles.images(2, 9, 8, 4)
    layer.bias.assign(oracles.images(*layer.bias.shape, seed=9))
    kernel = oracles.numpy(layer.kernel).reshape(3, 3, 1, -1)
    expected = oracles.conv2d(
        x,
        kernel,
        groups=4,
        strides=layer.strides,
        padding=layer.padding,
        dilation=layer.dilation_rate,
    )
    oracles.assert_close(layer(x), expected + oracles.numpy(layer.bias))


def test_filters_are_distributed_as_pytorchs_depthwise_convolution_is():
    import torch

    layer = FrozenDepthwiseConv2D((3, 5), seed=0)
    layer.build((None, 8, 8, 2048))
    theirs = torch.nn.Conv2d(2048, 2048, (3, 5), groups=2048).weight.detach().numpy()
    ours = oracles.numpy(layer.kernel)
    bound = 1 / np.sqrt(15)
    for values in (ours, theirs):
        assert 0.999 * bound < np.abs(values).max() <= bound * (1 + 1e-6)
        np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.02)


def test_seed_determines_the_filters():
    first, same, other = make(seed=4), make(seed=4), make(seed=5)
    a, b, c = (oracles.numpy(layer.basis) for layer in (first, same, other))
    np.testing.assert_array_equal(a, b)
    assert (a != c).all()


def test_kernel_stays_when_the_model_is_made_trainable():
    model = keras.Sequential([keras.Input((6, 6, 3)), FrozenDepthwiseConv2D(3, seed=1)])
    model.trainable = False
    model.trainable = True
    before = oracles.numpy(model.layers[0].kernel).copy()
    model.compile(keras.optimizers.SGD(0.1, weight_decay=0.1), "mse")
    model.fit(oracles.images(4, 6, 6, 3), np.ones((4, 4, 4, 3), "float32"), verbose=0)
    np.testing.assert_array_equal(oracles.numpy(model.layers[0].kernel), before)
    assert [variable.name for variable in model.trainable_variables] == ["bias"]


class Store(dict):
    """Takes what a layer saves, as Keras' files do."""

    def __setitem__(self, name, value):
        super().__setitem__(name, oracles.numpy(value))


def saved(layer):
    store = Store()
    layer.save_own_variables(store)
    return store


def test_a_file_holds_the_seed_and_not_the_filters():
    assert set(saved(make())) == {"seed", "basis_fingerprint", "bias"}


def test_a_file_of_another_seed_brings_its_filters():
    layer, other = make(seed=1), make(seed=2)
    other.load_own_variables(saved(layer))
    np.testing.assert_array_equal(oracles.numpy(other.basis), oracles.numpy(layer.basis))


def test_a_file_of_other_arguments_is_refused():
    with pytest.raises(ValueError, match=r"cannot be regenerated: seed 1 and shape \(3, 3, 4, 1\)"):
        make(use_bias=False).load_own_variables(saved(make(use_bias=False, depth_multiplier=2)))


def test_filters_set_by_hand_are_written_to_a_file():
    layer = make()
    layer.basis.assign(oracles.images(*layer.basis.shape))
    assert set(saved(layer)) == {"basis", "bias"}


def test_own_initializer_is_used():
    assert (oracles.numpy(make(basis_initializer="ones").basis) == 1).all()


def test_depthwise_arguments_are_refused():
    with pytest.raises(ValueError, match=r"no `depthwise_initializer`. Use `basis_initializer`"):
        FrozenDepthwiseConv2D(3, depthwise_initializer="ones")

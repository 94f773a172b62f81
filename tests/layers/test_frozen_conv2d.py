import keras
import numpy as np
import pytest

from keras_lc import FrozenConv2D
from tests import oracles
from tests.layer_test_case import LayerTestCase


class FrozenConv2DTest(LayerTestCase):
    init = {"filters": 5, "kernel_size": 3, "seed": 0}  # noqa: RUF012

    def test_keras_contract(self):
        self.run_layer_test(
            FrozenConv2D,
            self.init,
            input_shape=(2, 6, 7, 3),
            expected_output_shape=(2, 4, 5, 5),
            expected_num_trainable_weights=1,
            expected_num_non_trainable_weights=1,
        )

    def test_dtype_policies(self):
        self.run_dtype_policy_test(FrozenConv2D, self.init, input_shape=(2, 6, 7, 3))

    def test_eager_graph_and_compiled_steps_agree(self):
        self.run_execution_test(FrozenConv2D, self.init, input_shape=(2, 6, 7, 3))


@pytest.mark.parametrize(
    "geometry", [{}, {"padding": "same", "strides": 2}, {"groups": 2}, {"dilation_rate": 2}]
)
def test_equals_a_convolution_in_numpy(geometry):
    layer, x = FrozenConv2D(4, 3, use_bias=False, seed=1, **geometry), oracles.images(2, 9, 8, 4)
    actual = layer(x)
    names = {"dilation_rate": "dilation"}
    expected = oracles.conv2d(
        x, oracles.numpy(layer.kernel), **{names.get(k, k): v for k, v in geometry.items()}
    )
    oracles.assert_close(actual, expected)


def test_kernel_stays_when_the_model_is_made_trainable():
    model = keras.Sequential([keras.Input((6, 6, 3)), FrozenConv2D(4, 3, seed=1)])
    model.trainable = False
    model.trainable = True
    before = oracles.numpy(model.layers[0].kernel).copy()
    model.compile(keras.optimizers.SGD(0.1, weight_decay=0.1), "mse")
    model.fit(oracles.images(4, 6, 6, 3), np.ones((4, 4, 4, 4), "float32"), verbose=0)
    np.testing.assert_array_equal(oracles.numpy(model.layers[0].kernel), before)
    assert [variable.name for variable in model.trainable_variables] == ["bias"]


def test_kernel_arguments_are_refused():
    with pytest.raises(ValueError, match=r"no `kernel_initializer`. Use `basis_initializer`"):
        FrozenConv2D(4, 3, kernel_initializer="ones")

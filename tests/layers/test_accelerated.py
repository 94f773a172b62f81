"""Layers that compute what Keras' own do, only faster."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_lc
from keras_lc import layers
from keras_lc.layers.accelerated import keras_class
from tests import oracles
from tests.layer_test_case import LayerTestCase
from tests.models.test_residual import OPERATORS, network

BACKEND = keras.backend.backend()


class BatchNormalizationTest(LayerTestCase):
    def test_keras_contract(self):
        # Not ours: the axis is not in `data_format`.
        super(LayerTestCase, self).run_layer_test(
            layers.BatchNormalization,
            {"epsilon": 1e-5, "momentum": 0.9},
            input_shape=(3, 5, 6, 4),
            expected_output_shape=(3, 5, 6, 4),
            expected_num_trainable_weights=2,
            expected_num_non_trainable_weights=2,
            expected_num_non_trainable_variables=2,
            expected_num_seed_generators=0,
            expected_num_losses=0,
            run_mixed_precision_check=False,
        )

    def test_eager_graph_and_compiled_steps_agree(self):
        self.run_execution_test(
            layers.BatchNormalization, {"epsilon": 1e-5}, input_shape=(4, 5, 6, 3)
        )


def normalization(cls=layers.BatchNormalization, channels=5, axis=-1, **arguments):
    layer = cls(axis=axis, momentum=0.8, epsilon=1e-3, **arguments)
    layer.build((None, None, None, channels) if axis == -1 else (None, channels, None, None))
    for number, variable in enumerate(layer.variables):
        # A variance must be positive.
        values = np.abs(oracles.images(*variable.shape, seed=number)) + 0.5
        variable.assign(values)
    return layer


def pictures(*shape, axis=-1):
    return 3 * oracles.images(*shape) + 2 if axis == -1 else 3 * oracles.images(*shape) - 1


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", [{}, {"scale": False}, {"center": False}])
def test_normalizes_as_numpy_does(axis, training, options):
    layer, x = normalization(axis=axis, **options), pictures(4, 5, 5, 5)
    moving = {v.name: oracles.numpy(v).astype("float64") for v in layer.variables}
    over = (0, 1, 2) if axis == -1 else (0, 2, 3)
    shape = (1, 1, 1, -1) if axis == -1 else (1, -1, 1, 1)
    mean, variance = moving["moving_mean"], moving["moving_variance"]
    if training:
        mean, variance = x.mean(over, dtype="float64"), x.var(over, dtype="float64")
    expected = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + 1e-3)
    if "gamma" in moving:
        expected = expected * moving["gamma"].reshape(shape)
    if "beta" in moving:
        expected = expected + moving["beta"].reshape(shape)
    oracles.assert_close(layer(x, training=training), expected)
    for name, batch in (("moving_mean", mean), ("moving_variance", variance)):
        # The biased variance, as Keras' and not as PyTorch's layer has it.
        oracles.assert_close(getattr(layer, name), 0.8 * moving[name] + 0.2 * batch)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_those_of_keras(axis, training):
    x, weights = pictures(4, 5, 5, 5), oracles.images(4, 5, 5, 5, seed=1)
    found = []
    for cls in (layers.BatchNormalization, keras.layers.BatchNormalization):
        layer = normalization(cls, axis=axis)
        by_inputs, by_variables = oracles.gradients(
            lambda x, layer=layer: ops.sum(ops.multiply(layer(x, training=training), weights)),
            x,
            layer.trainable_variables,
        )
        found.append([by_inputs, *by_variables])
    for ours, keras_own in zip(*found, strict=True):
        oracles.assert_close(ours, keras_own)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("training", [True, False])
def test_dtype_policies(policy, training):
    with oracles.float64_allowed():
        ours = normalization(dtype=policy)
        theirs = normalization(keras.layers.BatchNormalization, dtype=policy)
        x = pictures(4, 5, 5, 5)
        outputs = ours(x, training=training)
        assert keras.backend.standardize_dtype(outputs.dtype) == ours.compute_dtype
        # Keras' own code rounds float64 to float32 under PyTorch.
        in_float32 = policy == "float64" and BACKEND == "torch"
        precision = "float32" if in_float32 else ours.compute_dtype
        oracles.assert_close(outputs, theirs(x, training=training), precision)
        for a, b in zip(ours.variables, theirs.variables, strict=True):
            assert a.dtype == b.dtype
            oracles.assert_close(a, b, "float32")


def test_a_layer_that_is_not_trainable_keeps_its_statistics():
    layer, x = normalization(), pictures(4, 5, 5, 5)
    layer.trainable = False
    before = oracles.numpy(layer.moving_mean).copy()
    np.testing.assert_array_equal(
        oracles.numpy(layer(x, training=True)), oracles.numpy(layer(x, training=False))
    )
    np.testing.assert_array_equal(oracles.numpy(layer.moving_mean), before)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX runs Keras' own code")
def test_a_batch_without_images_keeps_the_statistics():
    layer = normalization()
    before = [oracles.numpy(v).copy() for v in layer.variables]
    assert layer(np.zeros((0, 5, 5, 5), "float32"), training=True).shape == (0, 5, 5, 5)
    for variable, value in zip(layer.variables, before, strict=True):
        kept = 0.8 * value + 0.2 * value
        np.testing.assert_allclose(oracles.numpy(variable), kept, rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1, 5), (4, 5), (4, 6, 5), (2, 3, 3, 3, 5)])
def test_one_value_a_channel_and_other_ranks_are_as_in_keras(shape):
    x, outputs = oracles.images(*shape) + 1, []
    for cls in (layers.BatchNormalization, keras.layers.BatchNormalization):
        layer = cls(beta_initializer="ones")
        outputs.append([layer(x, training=True), layer.moving_mean, layer.moving_variance])
    for ours, theirs in zip(*outputs, strict=True):
        oracles.assert_close(ours, theirs)


def test_masks_are_as_in_keras():
    x, mask = pictures(4, 5, 5, 5), oracles.images(4, 5, 5) > 0
    ours, theirs = (
        normalization(cls)(x, training=True, mask=mask)
        for cls in (layers.BatchNormalization, keras.layers.BatchNormalization)
    )
    oracles.assert_close(ours, theirs)


KERNELS = {
    "3x3": dict(kernel_size=3),
    "same": dict(kernel_size=3, padding="same"),
    "strided": dict(kernel_size=3, strides=2),
    "strided same": dict(kernel_size=3, strides=2, padding="same"),
    "even same": dict(kernel_size=(2, 4), padding="same"),
    "dilated same": dict(kernel_size=(3, 2), dilation_rate=2, padding="same"),
    "uneven strides": dict(kernel_size=3, strides=(1, 2)),
    "1x1": dict(kernel_size=1),
    "1x1 strided": dict(kernel_size=1, strides=2),
    "1x1 strided same": dict(kernel_size=1, strides=(2, 3), padding="same"),
}
if BACKEND == "jax":
    # It runs Keras' own code, and compiles for a second in each case.
    KERNELS = {name: KERNELS[name] for name in ("3x3", "strided same", "1x1 strided same")}


def convolution(cls, data_format, **arguments):
    layer = cls(data_format=data_format, activation="relu", **arguments)
    layer.build((None, 9, 8, 4) if data_format == "channels_last" else (None, 4, 9, 8))
    for number, variable in enumerate(layer.variables):
        variable.assign(oracles.images(*variable.shape, seed=number + 1))
    return layer


def in_order(x, data_format):
    return x if data_format == "channels_last" else np.moveaxis(x, -1, 1)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("geometry", KERNELS.values(), ids=KERNELS)
def test_convolves_as_numpy_does(geometry, groups, data_format):
    layer = convolution(layers.Conv2D, data_format, filters=8, groups=groups, **geometry)
    x = oracles.images(2, 9, 8, 4)
    expected = oracles.conv2d(
        x,
        oracles.numpy(layer.kernel),
        strides=layer.strides,
        padding=layer.padding,
        dilation=layer.dilation_rate,
        groups=groups,
    )
    expected = np.maximum(expected + oracles.numpy(layer.bias), 0)
    oracles.assert_close(layer(in_order(x, data_format)), in_order(expected, data_format))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("geometry", KERNELS.values(), ids=KERNELS)
def test_depthwise_convolves_as_numpy_does(geometry, data_format):
    if len(set(np.broadcast_to(geometry.get("strides", 1), 2))) > 1:
        pytest.skip("TensorFlow's depthwise convolution has one stride.")
    layer = convolution(layers.DepthwiseConv2D, data_format, depth_multiplier=2, **geometry)
    x, kernel = oracles.images(2, 9, 8, 4), oracles.numpy(layer.kernel)
    expected = oracles.conv2d(
        x,
        kernel.reshape(*kernel.shape[:2], 1, -1),
        strides=layer.strides,
        padding=layer.padding,
        dilation=layer.dilation_rate,
        groups=4,
    )
    expected = np.maximum(expected + oracles.numpy(layer.bias), 0)
    oracles.assert_close(layer(in_order(x, data_format)), in_order(expected, data_format))


def test_gradients_of_a_strided_1x1_convolution_are_those_of_its_matrix_product():
    """PyTorch 2.13 by itself writes past its memory here, on processors without AVX-512."""
    layer = convolution(layers.Conv2D, "channels_last", filters=8, kernel_size=1, strides=2)
    x, weights = oracles.images(16, 9, 8, 4), oracles.images(16, 5, 4, 8, seed=7)
    by_inputs, (by_kernel, _) = oracles.gradients(
        lambda x: ops.sum(ops.multiply(layer(x), weights)), x, layer.trainable_variables
    )
    # relu' · weights, where the outputs are.
    slope = weights * (oracles.numpy(layer(x)) > 0)
    kernel = oracles.numpy(layer.kernel)[0, 0]
    expected = np.zeros_like(x)
    expected[:, ::2, ::2] = slope @ kernel.T
    oracles.assert_close(by_inputs, expected)
    oracles.assert_close(by_kernel[0, 0], np.einsum("bhwc,bhwf->cf", x[:, ::2, ::2], slope))


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(
    ("cls", "reduce"), [(layers.MaxPooling2D, np.max), (layers.AveragePooling2D, np.mean)]
)
def test_pools_as_numpy_does(cls, reduce, padding, data_format):
    x = oracles.images(2, 8, 6, 4)
    layer = cls(2, 2, padding=padding, data_format=data_format)
    expected = reduce(x.reshape(2, 4, 2, 3, 2, 4), axis=(2, 4))
    oracles.assert_close(layer(in_order(x, data_format)), in_order(expected, data_format))


@pytest.mark.skipif(BACKEND != "torch", reason="Keras copies under PyTorch")
@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(8, 3, padding="same"),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.MaxPooling2D(3, 1, padding="same"),
        layers.BatchNormalization(),
        keras_lc.FrozenConv2D(8, 3, padding="same", seed=0),
        keras_lc.LCConv2D(8, 3, padding="same", seed=0),
        layers.GramLimitConv2D(8, 3, padding="same", seed=0),
        keras_lc.LCConv1D(8, 3, padding="same", seed=0),
        keras_lc.LCConv3D(8, 3, padding="same", seed=0),
        keras_lc.LCDepthwiseConv2D(3, padding="same", seed=0),
        keras_lc.LCConv2DTranspose(8, 3, seed=0),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_no_feature_map_is_copied_under_pytorch(layer):
    from torch.utils._python_dispatch import TorchDispatchMode

    copied = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            outputs = function(*args, **(kwargs or {}))
            if any(word in str(function) for word in ("clone", "copy", "contiguous")):
                copied.append((str(function), tuple(outputs.shape)))
            return outputs

    sides = getattr(layer, "rank", 2)
    x = ops.convert_to_tensor(oracles.images(2, *[16] * sides, 8))
    layer(x, **({"training": True} if isinstance(layer, layers.BatchNormalization) else {}))
    with Copies():
        outputs = layer(x)
    assert [c for c in copied if np.prod(c[1]) >= 2 * 14**sides * 8] == []
    assert outputs.is_contiguous()


PAIRS = [
    layers.Conv1D(4, 3),
    layers.Conv2D(4, 3),
    layers.Conv3D(4, 3),
    layers.DepthwiseConv1D(3),
    layers.DepthwiseConv2D(3),
    layers.Conv1DTranspose(5, 3),
    layers.Conv2DTranspose(5, 3),
    layers.Conv3DTranspose(5, 3),
    layers.MaxPooling2D(2),
    layers.AveragePooling2D(2),
    layers.BatchNormalization(),
]


@pytest.mark.parametrize("layer", PAIRS, ids=lambda layer: type(layer).__name__)
def test_files_go_both_ways_between_a_layer_and_the_one_of_keras(layer, tmp_path):
    fast, plain = type(layer), keras_class(layer)
    assert plain.__module__.startswith("keras.") and plain.__name__ == fast.__name__
    assert fast(**layer.get_config()).get_config() == plain(**layer.get_config()).get_config()
    x = oracles.images(2, *[8] * getattr(layer, "rank", 2), 4)
    for source, target in ((fast, plain), (plain, fast)):
        first, second = (
            keras.Sequential([keras.Input(x.shape[1:]), cls(**layer.get_config())])
            for cls in (source, target)
        )
        for number, variable in enumerate(first.variables):
            variable.assign(np.abs(oracles.images(*variable.shape, seed=number)) + 0.1)
        first.save_weights(tmp_path / "w.weights.h5")
        second.load_weights(tmp_path / "w.weights.h5")
        oracles.assert_close(second(x), first(x))


def test_a_subclass_is_its_own_class():
    class Own(layers.Conv2D):
        pass

    assert keras_class(Own(4, 3)) is Own


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_folded_network_has_layers_of_keras_that_are_accelerated(batch_norm, tmp_path):
    model = network(OPERATORS["hybrid"])
    folded = keras_lc.fold(model, batch_norm=batch_norm)
    assert {type(layer).__module__.partition(".")[0] for layer in folded.layers} == {"keras"}
    convolutions = [layer for layer in folded.layers if isinstance(layer, keras.layers.Conv2D)]
    assert all("call" in vars(layer) for layer in convolutions)
    folded.save(tmp_path / "folded.keras")
    loaded = keras.saving.load_model(tmp_path / "folded.keras")
    x = oracles.images(2, 9, 9, 3)
    expected = oracles.numpy(model(x))
    oracles.assert_close(folded(x), expected, "float32")
    oracles.assert_close(loaded(x), expected, "float32")

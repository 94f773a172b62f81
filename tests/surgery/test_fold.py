"""`fold`: plain Conv2D in the place of LC layers, with the same outputs at inference."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_lc.layers import (
    FanInUniform,
    FrozenConv2D,
    FrozenDepthwiseConv2D,
    LCBlock,
    LCConv2D,
    RandomCropFlip,
)
from keras_lc.surgery import fold

LAYERS = {"lc": LCConv2D, "frozen": FrozenConv2D}
# Of float32 sums, relative to the largest output: some 100 roundings.
TOLERANCE = 1e-5


def images(batch=3, size=8, channels=4):
    shape = (batch, size, size, channels)
    return np.random.default_rng(1).normal(size=shape).astype("float32")


def randomize(model):
    """Gives each variable of floats a value of its own: no unit scale, zero mean or equal twin."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in layer.weights])
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.uniform(-1.0, 1.0, layer.bias.shape))
    return model


def values(layer):
    return [keras.ops.convert_to_numpy(weight.value) for weight in layer.weights]


def outputs(model, inputs):
    return keras.tree.map_structure(keras.ops.convert_to_numpy, model(inputs, training=False))


def assert_close(actual, desired, tolerance=TOLERANCE):
    scale = np.max(np.abs(desired))
    np.testing.assert_allclose(actual / scale, desired / scale, rtol=0, atol=tolerance)


def assert_folds(model, inputs=None, **options):
    """Folds, compares the outputs, and returns the folded model."""
    inputs = images() if inputs is None else inputs
    desired = outputs(model, inputs)
    folded = fold(model, **options)
    assert_close(outputs(folded, inputs), desired)
    return folded


def sequential(*layers, shape=(8, 8, 4)):
    return randomize(keras.Sequential([keras.Input(shape), *layers]))


def all_layers(model):
    return [layer for layer in model._flatten_layers() if not isinstance(layer, keras.Model)]


def types(model):
    return [type(layer).__name__ for layer in model.layers if type(layer).__name__ != "InputLayer"]


def batch_norm(name="bn", **options):
    return keras.layers.BatchNormalization(name=name, epsilon=0.02, **options)


OPTIONS = {
    "valid": {},
    "same": dict(padding="same"),
    "strides": dict(strides=(2, 1), padding="same"),
    "dilation": dict(dilation_rate=2),
    "groups": dict(groups=2),
    "no_bias": dict(use_bias=False),
    "relu": dict(activation="relu"),
    "kernel_1x3": dict(kernel_size=(1, 3)),
    "regularized": dict(bias_regularizer="l2", bias_constraint="non_neg", trainable=False),
    "bias_initializer": dict(bias_initializer=FanInUniform(0, fan_in=9)),
    "mixed_bfloat16": dict(dtype="mixed_bfloat16"),
}


@pytest.mark.parametrize("cls", LAYERS.values(), ids=LAYERS)
class TestConvolution:
    @pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
    def test_the_outputs_are_the_same(self, cls, options):
        model = sequential(cls(6, seed=0, **({"kernel_size": 3} | options)))
        inputs = images()
        desired = outputs(model, inputs)
        tolerance = 2e-2 if "dtype" in options else TOLERANCE
        assert_close(outputs(fold(model), inputs), desired, tolerance)

    @pytest.mark.once
    @pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
    def test_it_becomes_a_conv2d_with_the_same_options(self, cls, options):
        layer = cls(6, seed=0, name="conv", **({"kernel_size": 3} | options))
        folded = fold(sequential(layer)).get_layer("conv")
        assert type(folded) is keras.layers.Conv2D
        ours, plain = layer.get_config(), folded.get_config()
        for key in ours.keys() & plain.keys() - {"bias_initializer"}:
            assert plain[key] == ours[key], key

    def test_channels_first(self, cls):
        layer = cls(5, 3, padding="same", seed=0, data_format="channels_first")
        model = sequential(layer, shape=(4, 8, 8))
        assert_folds(model, np.moveaxis(images(), -1, 1))

    def test_the_kernel_is_the_combined_kernel(self, cls):
        layer = cls(6, 3, seed=0)
        folded = fold(sequential(layer))
        np.testing.assert_array_equal(
            values(folded)[0], keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(layer.kernel))
        )

    def test_the_kernel_is_trainable(self, cls):
        folded = fold(sequential(cls(6, 3, seed=0)))
        assert [weight.name for weight in folded.trainable_weights] == ["kernel", "bias"]


DEPTHWISE_OPTIONS = {
    "valid": {},
    "same": dict(padding="same"),
    "strides": dict(strides=2, padding="same"),
    "dilation": dict(dilation_rate=2),
    "depth_multiplier": dict(depth_multiplier=3),
    "no_bias": dict(use_bias=False),
    "relu": dict(activation="relu"),
    "kernel_1x3": dict(kernel_size=(1, 3)),
    "mixed_bfloat16": dict(dtype="mixed_bfloat16"),
}


class TestDepthwiseConvolution:
    @pytest.mark.parametrize("options", DEPTHWISE_OPTIONS.values(), ids=DEPTHWISE_OPTIONS)
    def test_it_becomes_a_depthwise_conv2d_of_the_same_outputs_and_options(self, options):
        layer = FrozenDepthwiseConv2D(**{"kernel_size": 3, "seed": 0, "name": "conv"} | options)
        model = sequential(layer)
        folded = fold(model)
        plain = folded.get_layer("conv")
        assert type(plain) is keras.layers.DepthwiseConv2D
        np.testing.assert_array_equal(values(plain)[0], values(layer)[-1])
        np.testing.assert_array_equal(outputs(folded, images()), outputs(model, images()))
        config = layer.get_config()
        for key in config.keys() & plain.get_config().keys():
            assert plain.get_config()[key] == config[key], key

    def test_channels_first(self):
        layer = FrozenDepthwiseConv2D(3, depth_multiplier=2, seed=0, data_format="channels_first")
        model = sequential(layer, shape=(4, 8, 8))
        assert_folds(model, np.moveaxis(images(), -1, 1))

    def test_the_batch_norm_behind_it_is_fused(self):
        layer = FrozenDepthwiseConv2D(3, depth_multiplier=2, use_bias=False, seed=0)
        folded = assert_folds(sequential(layer, batch_norm()), batch_norm=True)
        assert types(folded) == ["DepthwiseConv2D"]


def deep_model():
    """Shared, nested, with two inputs and outputs, and all that training needs."""
    shared = LCConv2D(4, 3, expansion=2, padding="same", use_bias=False, seed=1, name="shared")
    body = keras.Sequential(
        [keras.Input((8, 8, 4)), shared, batch_norm(), keras.layers.ReLU()], name="body"
    )
    inner_inputs = keras.Input((8, 8, 4))
    inner = keras.Model(inner_inputs, keras.layers.Add()([body(inner_inputs), inner_inputs]))
    a, b = keras.Input((8, 8, 4), name="a"), keras.Input((8, 8, 4), name="b")
    x = keras.layers.RandomFlip("horizontal", seed=0, name="flip")(RandomCropFlip(1, seed=0)(a))
    x = FrozenConv2D(4, 3, padding="same", seed=2, name="frozen")(x)
    x = keras.layers.Add()([inner(shared(x)), keras.layers.Rescaling(0.5)(b)])
    heads = {"first": inner(x), "second": keras.layers.Dense(2, name="second")(x)}
    return randomize(keras.Model({"a": a, "b": b}, heads, name="deep"))


class TestModel:
    def inputs(self):
        return {"a": images(), "b": 2.0 * images()}

    @pytest.mark.parametrize("fuse", [False, True], ids=["plain", "batch_norm"])
    def test_the_outputs_are_the_same(self, fuse):
        model = deep_model()
        desired = outputs(model, self.inputs())
        actual = outputs(fold(model, batch_norm=fuse), self.inputs())
        for name in desired:
            assert_close(actual[name], desired[name])

    def test_the_model_stays_as_it_was(self):
        model = deep_model()
        names = [layer.name for layer in model._flatten_layers()]
        desired, before = outputs(model, self.inputs()), values(model)
        folded = fold(model, batch_norm=True)
        # Under JAX, `predict` gives buffers away: they must not be the model's.
        folded.predict(self.inputs(), verbose=0)
        assert [layer.name for layer in model._flatten_layers()] == names
        for actual, expected in zip(values(model), before, strict=True):
            np.testing.assert_array_equal(actual, expected)
        for name, value in outputs(model, self.inputs()).items():
            np.testing.assert_array_equal(value, desired[name])

    def test_shared_layers_stay_shared(self):
        folded = fold(deep_model())
        assert sum(layer.name == "shared" for layer in set(all_layers(folded))) == 1

    def test_random_crop_flip_is_dropped_and_augmentation_of_keras_stays(self):
        names = [type(layer).__name__ for layer in all_layers(fold(deep_model()))]
        assert "RandomCropFlip" not in names
        assert "RandomFlip" in names

    @pytest.mark.parametrize("fuse", [False, True], ids=["plain", "batch_norm"])
    def test_folding_twice_is_folding_once(self, fuse):
        once = fold(deep_model(), batch_norm=fuse)
        twice = fold(once, batch_norm=fuse)
        assert [layer.name for layer in all_layers(twice)] == [
            layer.name for layer in all_layers(once)
        ]
        for actual, desired in zip(values(twice), values(once), strict=True):
            np.testing.assert_array_equal(actual, desired)

    def test_operations_of_keras_stay(self):
        inputs = keras.Input((8, 8, 4))
        x = LCConv2D(6, 3, seed=0)(inputs)
        assert_folds(keras.Model(inputs, keras.ops.mean(x * 2.0 + 1.0, 1, True)[:, 0]))

    def test_a_model_without_lc_layers_is_copied(self):
        model = sequential(keras.layers.Conv2D(4, 3), keras.layers.ReLU())
        folded = assert_folds(model)
        assert types(folded) == ["Conv2D", "ReLU"]

    @pytest.mark.once
    def test_an_initializer_of_keras_lc_is_not_kept(self):
        layer = keras.layers.Dense(2, kernel_initializer=FanInUniform(0), name="dense")
        folded = assert_folds(sequential(layer))
        assert "keras_lc" not in str(folded.get_config())


@pytest.mark.parametrize("cls", [LCConv2D, FrozenConv2D])
def test_a_group_for_each_channel_becomes_a_depthwise_convolution(cls):
    layer = cls(8, 3, groups=4, strides=2, activation="relu", seed=0, name="conv")
    folded = assert_folds(sequential(layer))
    assert types(folded) == ["DepthwiseConv2D"]
    twin = folded.layers[0]
    assert (twin.name, twin.depth_multiplier, twin.strides) == ("conv", 2, (2, 2))
    kernel = keras.ops.convert_to_numpy(layer.kernel)[:, :, 0]
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(twin.kernel), kernel.reshape(3, 3, 4, 2)
    )


class TestNothingOfKerasLcIsLeft:
    @pytest.mark.once
    def test_a_file_loads_without_keras_lc(self, tmp_path):
        layers = [
            RandomCropFlip(1, seed=0),
            LCConv2D(6, 3, expansion=2, seed=0, bias_initializer=FanInUniform(0, fan_in=3)),
            LCBlock(6, 3, "bn_relu", seed=1, frozen=False),
            keras.layers.Dense(2, kernel_initializer=FanInUniform(0)),
        ]
        folded = fold(sequential(*layers), strict=False)
        folded.save(tmp_path / "folded.keras")
        np.save(tmp_path / "images.npy", images())
        code = (
            "import sys; sys.modules['keras_lc'] = None\n"
            "import keras, numpy\n"
            "model = keras.saving.load_model('folded.keras')\n"
            "numpy.save('outputs.npy', model.predict(numpy.load('images.npy'), verbose=0))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | {"KERAS_BACKEND": keras.backend.backend()},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert_close(np.load(tmp_path / "outputs.npy"), outputs(folded, images()))

    @pytest.mark.once
    def test_a_hidden_layer_is_refused_by_its_path(self):
        frames = keras.layers.TimeDistributed(LCConv2D(4, 3, name="lc"), name="frames")
        with pytest.raises(ValueError, match="frames/lc"):
            fold(keras.Sequential([keras.Input((2, 8, 8, 3)), frames]))

    @pytest.mark.once
    def test_a_subclass_of_a_layer_is_refused_by_its_path(self):
        class Special(LCConv2D):
            def call(self, inputs):
                return 2 * super().call(inputs)

        inner = sequential(Special(4, 3, name="special"))
        inner.name = "inner"
        with pytest.raises(ValueError, match=r"inner/special \(Special: a subclass of LCConv2D"):
            fold(sequential(inner))

    @pytest.mark.once
    def test_augmentation_that_also_runs_at_inference_is_refused(self):
        inputs = keras.Input((8, 8, 4))
        model = keras.Model(inputs, RandomCropFlip(1, name="crop")(inputs, training=True))
        with pytest.raises(ValueError, match="crop"):
            fold(model)


@pytest.mark.once
@pytest.mark.parametrize("model", ["model.keras", keras.layers.Flatten(), None])
def test_what_is_no_model_is_refused(model):
    with pytest.raises(ValueError, match=r"`model` must be a Keras model.*Received: model="):
        fold(model)


@pytest.mark.once
class TestLayersThatCannotBeCopied:
    def test_a_python_lambda_is_named_with_the_way_out(self):
        twice = keras.layers.Lambda(lambda x: 2 * x, name="twice")
        match = r"'inner/twice' \(Lambda\) cannot be copied. Write it as your own `keras.layers"
        with pytest.raises(ValueError, match=match):
            inner = keras.Sequential([keras.Input((8, 8, 4)), twice], name="inner")
            fold(keras.Sequential([keras.Input((8, 8, 4)), inner, LCConv2D(4, 3)]))

    def test_a_layer_without_a_config_is_named(self):
        class Scaled(keras.layers.Layer):
            def __init__(self, factor):
                super().__init__(name="scaled")
                self.factor = factor

            def call(self, x):
                return self.factor * x

            def get_config(self):
                return {}

        with pytest.raises(ValueError, match=r"'scaled' \(Scaled\) cannot be copied.*get_config"):
            fold(sequential(LCConv2D(4, 3, seed=0), Scaled(2.0)))


class TestBatchNorm:
    @pytest.mark.parametrize("scale", [True, False], ids=["scale", "no_scale"])
    @pytest.mark.parametrize("center", [True, False], ids=["center", "no_center"])
    @pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no_bias"])
    def test_kernel_and_bias_are_those_of_the_formula(self, scale, center, use_bias):
        conv = keras.layers.Conv2D(6, 3, use_bias=use_bias, name="conv")
        norm = batch_norm(scale=scale, center=center)
        model = sequential(conv, norm)
        folded = assert_folds(model, batch_norm=True)

        def read(variable):
            return np.array(keras.ops.convert_to_numpy(variable.value), "float64")

        factor = 1 / np.sqrt(read(norm.moving_variance) + 0.02)
        factor *= read(norm.gamma) if scale else 1.0
        bias = read(conv.bias) if use_bias else 0.0
        shift = (bias - read(norm.moving_mean)) * factor + (read(norm.beta) if center else 0.0)
        kernel, bias = values(folded)
        assert types(folded) == ["Conv2D"]
        np.testing.assert_allclose(kernel, read(conv.kernel) * factor, rtol=1e-6)
        np.testing.assert_allclose(bias, shift, rtol=1e-6)

    @pytest.mark.parametrize(
        "conv",
        [
            lambda: keras.layers.Conv2D(6, 3, groups=2, strides=2),
            lambda: LCConv2D(6, 3, expansion=2, seed=0, use_bias=False),
            lambda: FrozenConv2D(6, 3, seed=0, padding="same"),
            lambda: keras.layers.DepthwiseConv2D(3, depth_multiplier=2),
        ],
        ids=["conv", "lc", "frozen", "depthwise"],
    )
    def test_it_is_fused_into(self, conv):
        folded = assert_folds(sequential(conv(), batch_norm()), batch_norm=True)
        assert len(folded.layers) == 1

    @pytest.mark.parametrize("axis", [1, -3])
    def test_it_is_fused_along_channels_first(self, axis):
        # 5: `keras.ops.add` under TensorFlow adds a bias along the width if that has its size.
        conv = LCConv2D(5, 3, seed=0, data_format="channels_first")
        model = sequential(conv, batch_norm(axis=axis), shape=(4, 8, 8))
        folded = assert_folds(model, np.moveaxis(images(), -1, 1), batch_norm=True)
        assert types(folded) == ["Conv2D"]

    def test_it_is_fused_in_nested_models(self):
        inner_inputs = keras.Input((8, 8, 4))
        x = batch_norm()(LCConv2D(4, 3, padding="same", seed=0)(inner_inputs))
        inner = keras.Model(inner_inputs, keras.layers.ReLU()(x), name="inner")
        inputs = keras.Input((8, 8, 4))
        model = randomize(keras.Model(inputs, inner(inner(inputs))))
        folded = assert_folds(model, batch_norm=True)
        assert types(folded.get_layer("inner")) == ["Conv2D", "ReLU"]

    def test_it_stays_by_default(self):
        folded = assert_folds(sequential(LCConv2D(6, 3, seed=0), batch_norm()))
        assert types(folded) == ["Conv2D", "BatchNormalization"]

    def test_trainable_flags_stay(self):
        model = sequential(LCConv2D(6, 3, seed=0, trainable=False), batch_norm())
        assert not fold(model, batch_norm=True).layers[0].trainable


def functional(build):
    inputs = keras.Input((8, 8, 4))
    return randomize(keras.Model(inputs, build(inputs)))


def conv(**options):
    return keras.layers.Conv2D(4, 3, padding="same", name="conv", **options)


def also_used(inputs):
    x = conv()(inputs)
    return keras.layers.Add()([batch_norm()(x), x])


def also_output(inputs):
    x = conv()(inputs)
    return [batch_norm()(x), x]


def shared_conv(inputs):
    layer = conv()
    return batch_norm()(layer(layer(inputs)))


def shared_norm(inputs):
    norm = batch_norm()
    return norm(conv()(norm(inputs)))


def norm_shared_with_nested_model(inputs):
    norm = batch_norm()
    return keras.Sequential([keras.Input((8, 8, 4)), norm])(norm(conv()(inputs)))


def nested_in_training_mode(inputs):
    return keras.Sequential([keras.Input((8, 8, 4)), conv(), batch_norm()])(inputs, training=True)


def with_lora(inputs):
    layer = conv()
    x = layer(inputs)
    layer.enable_lora(2)
    layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    return batch_norm()(x)


class MyBatchNormalization(keras.layers.BatchNormalization):
    pass


NOT_FUSABLE = {
    "activation": lambda x: batch_norm()(conv(activation="relu")(x)),
    "output_used_twice": also_used,
    "output_of_the_model": also_output,
    "shared_conv": shared_conv,
    "shared_norm": shared_norm,
    "norm_shared_with_nested_model": norm_shared_with_nested_model,
    "other_axis": lambda x: batch_norm(axis=1)(conv()(x)),
    "subclass_of_norm": lambda x: MyBatchNormalization()(conv()(x)),
    "other_dtype": lambda x: batch_norm(dtype="float32")(conv(dtype="mixed_bfloat16")(x)),
    "not_a_conv": lambda x: batch_norm()(keras.layers.Dense(4)(x)),
    "of_the_input": lambda x: conv()(batch_norm()(x)),
    "lora": with_lora,
    "training_mode": lambda x: batch_norm()(conv()(x), training=True),
    "nested_in_training_mode": nested_in_training_mode,
}


@pytest.mark.once
@pytest.mark.parametrize("build", NOT_FUSABLE.values(), ids=NOT_FUSABLE)
def test_batch_norm_stays_where_fusing_is_not_exact(build):
    model = functional(build)
    folded = fold(model, batch_norm=True)
    assert any(isinstance(x, keras.layers.BatchNormalization) for x in all_layers(folded))
    for actual, desired in zip(
        keras.tree.flatten(outputs(folded, images())),
        keras.tree.flatten(outputs(model, images())),
        strict=True,
    ):
        assert_close(actual, desired)


BLOCK_OPTIONS = {
    "frozen": {},
    "trained": dict(frozen=False),
    "same": dict(padding="same", expansion=2),
    "strides": dict(strides=2),
    "groups": dict(groups=2, expansion=2),
}


class TestLCBlock:
    @pytest.mark.parametrize("options", BLOCK_OPTIONS.values(), ids=BLOCK_OPTIONS)
    def test_one_with_batch_norm_becomes_one_convolution(self, options):
        block = LCBlock(6, 3, "bn", seed=0, name="block", **options)
        folded = assert_folds(sequential(block), batch_norm=True)
        assert types(folded) == ["Conv2D"]
        assert folded.layers[0].name == "block"
        assert folded.layers[0].filters == 6

    def test_its_kernel_is_that_of_the_formula(self):
        block = LCBlock(6, 3, "bn", seed=0, expansion=2)
        model = sequential(block)
        gamma, beta, mean, variance = (v.astype("float64") for v in values(block.batch_norm))
        basis, combination = values(block.basis_conv)[0], values(block.combination_conv)[0][0, 0]
        scale = gamma / np.sqrt(variance + block.batch_norm.epsilon)
        kernel, bias = values(fold(model, batch_norm=True))
        np.testing.assert_allclose(
            kernel, np.einsum("hwcr,r,rf->hwcf", basis, scale, combination), rtol=0, atol=1e-6
        )
        np.testing.assert_allclose(bias, (beta - mean * scale) @ combination, rtol=0, atol=1e-6)

    def test_the_batch_norm_behind_it_is_fused_too(self):
        model = sequential(LCBlock(6, 3, "bn", seed=0), batch_norm())
        assert types(assert_folds(model, batch_norm=True)) == ["Conv2D"]

    def test_channels_first(self):
        block = LCBlock(5, 3, "bn", seed=0, data_format="channels_first")
        model = sequential(block, shape=(4, 8, 8))
        assert_folds(model, np.moveaxis(images(), -1, 1), batch_norm=True)

    @pytest.mark.once
    @pytest.mark.parametrize(
        ("between", "fuse", "expected"),
        [
            ("relu", False, ["basis", "relu", "combination"]),
            ("bn", False, ["basis", "bn", "combination"]),
            ("bn_relu", False, ["basis", "bn", "relu", "combination"]),
            ("relu", True, ["basis", "relu", "combination"]),
            ("bn_relu", True, ["basis", "relu", "combination"]),
        ],
        ids=["relu", "bn", "bn_relu", "relu-batch_norm", "bn_relu-batch_norm"],
    )
    @pytest.mark.parametrize("options", BLOCK_OPTIONS.values(), ids=BLOCK_OPTIONS)
    def test_others_become_plain_layers_if_not_strict(self, between, fuse, expected, options):
        model = sequential(LCBlock(6, 3, between, seed=0, name="block", **options))
        folded = assert_folds(model, batch_norm=fuse, strict=False)
        assert [layer.name for layer in folded.layers] == [f"block_{part}" for part in expected]
        assert all(type(layer).__module__.startswith("keras.") for layer in folded.layers)

    def test_its_training_argument_reaches_the_batch_norm(self):
        inputs = keras.Input((8, 8, 4))
        block = LCBlock(6, 3, "bn", seed=0)
        model = randomize(keras.Model(inputs, block(inputs, training=True)))
        assert_folds(model, batch_norm=True, strict=False)

    @pytest.mark.once
    def test_strict_refuses_all_and_says_what_to_do(self):
        inner = keras.Sequential(
            [keras.Input((8, 8, 4)), LCBlock(4, 3, "bn_relu", padding="same", name="three")],
            name="inner",
        )
        model = sequential(
            LCBlock(4, 3, "bn", padding="same", name="one"),
            LCBlock(4, 3, "relu", padding="same", name="two"),
            inner,
        )
        with pytest.raises(ValueError) as error:
            fold(model)
        assert "one: pass `batch_norm=True`" in str(error.value)
        assert "two, inner/three: " in str(error.value)
        assert "`strict=False`" in str(error.value)

    @pytest.mark.once
    def test_strict_with_batch_norm_refuses_only_those_with_relu(self):
        model = sequential(
            LCBlock(4, 3, "bn", padding="same", name="one"), LCBlock(4, 3, "relu", name="two")
        )
        with pytest.raises(ValueError, match=r"to one Conv2D\. two: "):
            fold(model, batch_norm=True)

"""`freeze_spatial`: random spatial filters that stay, and all else as it was."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.layers import FrozenConv2D, FrozenDepthwiseConv2D, LCConv2D
from keras_lc.surgery.spatial_convolutions import is_spatial
from tests import oracles

SPATIAL = {
    "Conv2D": (keras.layers.Conv2D, dict(filters=6, kernel_size=3, padding="same")),
    "DepthwiseConv2D": (keras.layers.DepthwiseConv2D, dict(kernel_size=(1, 3), strides=1)),
    "SeparableConv2D": (
        keras.layers.SeparableConv2D,
        dict(filters=5, kernel_size=3, strides=2, depth_multiplier=2, activation="relu"),
    ),
}


def sequential(*layers):
    return keras.Sequential([keras.Input((8, 8, 4)), *layers])


def spatial_layers(model):
    return [layer for layer in model._flatten_layers() if is_spatial(layer)]


@pytest.mark.parametrize("kind", SPATIAL)
def test_a_spatial_convolution_keeps_geometry_and_bias_and_gets_frozen_filters(kind):
    layer_type, arguments = SPATIAL[kind]
    layer = layer_type(**arguments, name="conv")
    model = sequential(layer)
    layer.bias.assign(oracles.images(*layer.bias.shape))
    frozen = keras_lc.freeze_spatial(model, seed=0)
    assert frozen.output_shape == model.output_shape
    assert [type(x) for x in spatial_layers(frozen)] == [
        FrozenConv2D if kind == "Conv2D" else FrozenDepthwiseConv2D
    ]
    np.testing.assert_array_equal(
        oracles.numpy(frozen.get_layer("conv").bias), oracles.numpy(layer.bias)
    )
    # The same computation, once the copy has the filters of the original.
    random = spatial_layers(frozen)[0].basis
    kernel = getattr(layer, "depthwise_kernel", None)
    kernel = layer.kernel if kernel is None else kernel
    assert (oracles.numpy(random) != oracles.numpy(kernel)).all()
    random.assign(oracles.numpy(kernel))
    x = oracles.images(2, 8, 8, 4)
    oracles.assert_close(frozen(x), oracles.numpy(model(x)))


def test_pointwise_convolutions_normalization_and_dense_layers_stay_trained():
    model = sequential(
        keras.layers.Conv2D(4, 1, name="pointwise"),
        keras.layers.BatchNormalization(name="bn"),
        keras.layers.DepthwiseConv2D(3, use_bias=False),
        keras.layers.Flatten(),
        keras.layers.Dense(3, name="dense"),
    )
    frozen = keras_lc.freeze_spatial(model, seed=0)
    assert len(frozen.trainable_variables) == len(model.trainable_variables) - 1
    for name in ("pointwise", "bn", "dense"):
        for old, new in zip(
            model.get_layer(name).get_weights(), frozen.get_layer(name).get_weights(), strict=True
        ):
            np.testing.assert_array_equal(old, new)


def test_a_step_of_training_changes_no_spatial_filter():
    frozen = keras_lc.freeze_spatial(
        sequential(
            keras.layers.Conv2D(4, 3),
            keras.layers.SeparableConv2D(4, 3),
            keras.layers.GlobalAveragePooling2D(),
        ),
        seed=0,
    )
    before = [oracles.numpy(layer.basis).copy() for layer in spatial_layers(frozen)]
    trained = [oracles.numpy(v).copy() for v in frozen.trainable_variables]
    frozen.compile(keras.optimizers.SGD(0.1, weight_decay=0.1), "mse")
    frozen.fit(oracles.images(4, 8, 8, 4), np.ones((4, 4), "float32"), verbose=0)
    for layer, basis in zip(spatial_layers(frozen), before, strict=True):
        np.testing.assert_array_equal(oracles.numpy(layer.basis), basis)
    for variable, value in zip(frozen.trainable_variables, trained, strict=True):
        assert (oracles.numpy(variable) != value).any()


def test_the_seed_and_the_path_determine_the_filters():
    def bases(seed):
        model = sequential(
            keras.layers.Conv2D(4, 3, name="a", padding="same"),
            keras.layers.Conv2D(4, 3, name="b", padding="same"),
        )
        frozen = keras_lc.freeze_spatial(model, seed=seed)
        return [oracles.numpy(layer.basis) for layer in spatial_layers(frozen)]

    (a, b), again, other = bases(1), bases(1), bases(2)
    np.testing.assert_array_equal(a, again[0])
    assert (a != b).any() and (a != other[0]).any()


@pytest.mark.once
@pytest.mark.parametrize("kind", SPATIAL)
def test_the_filters_are_those_of_the_basis(kind):
    layer_type, arguments = SPATIAL[kind]
    frozen = keras_lc.freeze_spatial(sequential(layer_type(**arguments)), seed=1, basis="sparse")
    (layer,) = spatial_layers(frozen)
    shape, groups = layer.basis.shape, 1
    if kind != "Conv2D":
        shape, groups = (*shape[:2], 1, shape[2] * shape[3]), shape[2]
    expected = keras_lc.bases.Sparse()(layer.seed, shape, groups)
    np.testing.assert_array_equal(oracles.numpy(layer.basis), expected.reshape(layer.basis.shape))
    assert layer.basis_initializer == keras_lc.bases.Sparse()


def test_a_separable_convolution_keeps_what_its_output_is_regularized_by():
    layer = keras.layers.SeparableConv2D(5, 3, activity_regularizer="l2", name="conv")
    model = sequential(layer)
    frozen = keras_lc.freeze_spatial(model, seed=0)
    frozen.layers[0].basis.assign(oracles.numpy(layer.depthwise_kernel))
    x = oracles.images(2, 8, 8, 4)
    model(x), frozen(x)
    (expected,), (actual,) = model.losses, frozen.losses
    oracles.assert_close(actual, expected)


def test_nested_models_are_entered_and_shared_layers_stay_shared():
    shared = keras.layers.Conv2D(4, 3, padding="same", name="shared")
    inner_inputs = keras.Input((8, 8, 4))
    inner = keras.Model(inner_inputs, shared(shared(inner_inputs)), name="inner")
    inputs = keras.Input((8, 8, 4))
    frozen = keras_lc.freeze_spatial(keras.Model(inputs, inner(inputs)), seed=0)
    convolution = frozen.get_layer("inner").get_layer("shared")
    assert type(convolution) is FrozenConv2D
    assert len(frozen.non_trainable_variables) == 1


def test_freezing_twice_is_freezing_once():
    once = keras_lc.freeze_spatial(sequential(keras.layers.Conv2D(4, 3)), seed=0)
    twice = keras_lc.freeze_spatial(once, seed=1)
    for old, new in zip(once.get_weights(), twice.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_frozen_models_are_saved_with_seeds_and_folded_to_keras_layers(tmp_path):
    model = sequential(keras.layers.Conv2D(4, 3), keras.layers.SeparableConv2D(4, 3))
    frozen = keras_lc.freeze_spatial(model, seed=0)
    x = oracles.images(2, 8, 8, 4)
    frozen.save(tmp_path / "frozen.keras")
    loaded = keras.saving.load_model(tmp_path / "frozen.keras")
    np.testing.assert_array_equal(oracles.numpy(loaded(x)), oracles.numpy(frozen(x)))
    folded = keras_lc.fold(frozen)
    assert {type(layer).__module__.split(".")[0] for layer in folded.layers} == {"keras"}
    oracles.assert_close(folded(x), oracles.numpy(frozen(x)))


class Own(keras.layers.Conv2D):
    pass


@pytest.mark.once
@pytest.mark.parametrize(
    "layer",
    [
        Own(4, 3, name="conv"),
        LCConv2D(4, 3, frozen=False, name="conv"),
    ],
)
def test_what_has_no_frozen_form_is_named(layer):
    with pytest.raises(ValueError, match=rf"no frozen form: conv \({type(layer).__name__}\)"):
        keras_lc.freeze_spatial(sequential(layer), seed=0)


@pytest.mark.once
def test_a_subclassed_model_is_refused():
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv = keras.layers.Conv2D(4, 3)

        def call(self, x):
            return self.conv(x)

    with pytest.raises(ValueError, match="has no graph of layers"):
        keras_lc.freeze_spatial(Subclassed(), seed=0)


@pytest.mark.once
@pytest.mark.parametrize("function", [keras_lc.freeze_spatial, keras_lc.to_lc])
def test_a_model_without_spatial_convolutions_is_returned_with_a_warning(function):
    model = sequential(keras.layers.Conv2D(4, 1))
    options = {"expansion": 2} if function is keras_lc.to_lc else {}
    match = rf"`{function.__name__}` replaced nothing: .*of more than one pixel.$"
    with pytest.warns(UserWarning, match=match):
        copy = function(model, **options)
    for actual, expected in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.once
@pytest.mark.parametrize("sides", [1, 2, 3])
def test_a_recurrent_convolution_has_no_frozen_form(sides):
    layer = getattr(keras.layers, f"ConvLSTM{sides}D")(2, 3, name="conv")
    model = keras.Sequential([keras.Input((2, *[5] * sides, 4)), layer])
    with pytest.raises(ValueError, match=rf"no frozen form: conv \(ConvLSTM{sides}D\)"):
        keras_lc.freeze_spatial(model, seed=0)


# --- The model's own filters ---


@pytest.mark.parametrize("kind", SPATIAL)
def test_own_filters_stay_as_they_are_and_the_copy_computes_the_same(kind, tmp_path):
    layer_type, arguments = SPATIAL[kind]
    layer = layer_type(**arguments, name="conv")
    model = sequential(layer, keras.layers.BatchNormalization())
    layer.bias.assign(oracles.images(*layer.bias.shape))
    frozen = keras_lc.freeze_spatial(model, keep_kernels=True)
    x = oracles.images(2, 8, 8, 4)
    oracles.assert_close(frozen(x), oracles.numpy(model(x)))
    kernel = layer.depthwise_kernel if kind == "SeparableConv2D" else layer.kernel
    (kept,) = spatial_layers(frozen)
    assert type(kept) is (FrozenConv2D if kind == "Conv2D" else FrozenDepthwiseConv2D)
    np.testing.assert_array_equal(oracles.numpy(kept.basis), oracles.numpy(kernel))
    assert all("bias" in variable.name for variable in kept.trainable_variables)
    frozen.trainable = True
    assert all("bias" in variable.name for variable in kept.trainable_variables)
    frozen.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(oracles.numpy(loaded(x)), oracles.numpy(frozen(x)))
    oracles.assert_close(keras_lc.fold(loaded)(x), oracles.numpy(model(x)))


@pytest.mark.once
def test_own_filters_need_no_seed():
    with pytest.raises(ValueError, match=r"takes no `seed` and no `basis`\. Received: seed=0"):
        keras_lc.freeze_spatial(sequential(keras.layers.Conv2D(4, 3)), seed=0, keep_kernels=True)


@pytest.mark.once
@pytest.mark.parametrize(
    ("kind", "shape"),
    [("Conv1D", (9, 4)), ("SeparableConv1D", (9, 4)), ("Conv2DTranspose", (5, 5, 4))],
)
def test_own_filters_of_other_convolutions_stay_too(kind, shape):
    layer = getattr(keras.layers, kind)(6, 3, strides=2, name="conv")
    model = keras.Sequential([keras.Input(shape), layer])
    frozen = keras_lc.freeze_spatial(model, keep_kernels=True)
    x = oracles.images(2, *shape)
    oracles.assert_close(frozen(x), oracles.numpy(model(x)))
    assert any(getattr(layer, "frozen", False) for layer in frozen.layers)

"""Convolutions of every dimension and kind are frozen, made LC layers, folded and rated."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.analysis import filter_report, lc_rate
from keras_lc.surgery.spatial_convolutions import FORMS, SEPARABLE, kernel_of
from tests import oracles

OPTIONS = {
    "Conv1D": {"filters": 6, "padding": "causal", "dilation_rate": 2, "groups": 2},
    "Conv2D": {"filters": 6, "strides": 2},
    "Conv3D": {"filters": 6, "padding": "same", "groups": 2},
    "DepthwiseConv1D": {"depth_multiplier": 2},
    "DepthwiseConv2D": {"depth_multiplier": 2, "padding": "same"},
    # As many filters as channels: their axes can be told apart only by their order.
    "Conv1DTranspose": {"filters": 4, "strides": 2},
    "Conv2DTranspose": {"filters": 4, "strides": 2, "padding": "same"},
    "Conv3DTranspose": {"filters": 3, "strides": 2},
}
kinds = pytest.mark.parametrize("plain", FORMS, ids=lambda plain: plain.__name__)


def images(layer, seed=0):
    return oracles.images(2, *[6, 5, 4][: layer.rank], 4, seed=seed)


def network(plain, **options):
    """A convolution, and a batch normalization with statistics, scale and offset of its own."""
    layer = plain(kernel_size=3, name="conv", **OPTIONS[plain.__name__], **options)
    model = keras.Sequential([keras.Input(images(layer).shape[1:]), layer])
    model.add(keras.layers.BatchNormalization(name="bn"))
    for number, variable in enumerate([*layer.variables[1:], *model.get_layer("bn").variables]):
        variable.assign(np.abs(oracles.images(*variable.shape, seed=number)) + 0.5)
    return model


def outputs(model):
    return oracles.numpy(model(images(model.get_layer("conv"))))


@pytest.mark.once
@kinds
def test_a_frozen_copy_has_keras_numbers_but_the_filters(plain):
    model = network(plain, activity_regularizer="l2")
    frozen = keras_lc.freeze_spatial(model, seed=0)
    conv, layer = model.get_layer("conv"), frozen.get_layer("conv")
    assert type(layer) is FORMS[plain].frozen
    assert [v.name for v in layer.trainable_variables] == ["bias"]
    assert (oracles.numpy(layer.kernel) != oracles.numpy(conv.kernel)).all()
    filters = kernel_of(conv)
    layer.basis.assign(filters.reshape(layer.basis.shape))
    oracles.assert_close(outputs(frozen), outputs(model))
    again = keras_lc.freeze_spatial(frozen, seed=1)
    np.testing.assert_array_equal(outputs(again), outputs(frozen))


@kinds
@pytest.mark.parametrize("form", ["frozen", pytest.param("lc", marks=pytest.mark.once)])
@pytest.mark.parametrize("batch_norm", [True, pytest.param(False, marks=pytest.mark.once)])
def test_a_frozen_or_lc_copy_is_folded_to_keras_layer(plain, form, batch_norm):
    convert = keras_lc.freeze_spatial if form == "frozen" else keras_lc.to_lc
    copy = convert(network(plain), seed=0)
    folded = keras_lc.fold(copy, batch_norm=batch_norm)
    assert type(folded.get_layer("conv")) is plain
    assert len(folded.layers) == 2 - batch_norm
    oracles.assert_close(outputs(folded), outputs(copy))
    twice = keras_lc.fold(folded, batch_norm=batch_norm)
    np.testing.assert_array_equal(outputs(twice), outputs(folded))


@pytest.mark.once
@kinds
def test_an_lc_copy_may_keep_the_function_and_become_compact(plain):
    regularizer = "depthwise_regularizer" if "Depthwise" in plain.__name__ else "kernel_regularizer"
    model = network(plain, **{regularizer: "l1"})
    converted = keras_lc.to_lc(model, expansion=120, seed=0, keep_kernels=True)
    layer = converted.get_layer("conv")
    assert type(layer) is FORMS[plain].lc and layer.expansion == 120
    assert isinstance(layer.combination_regularizer, keras.regularizers.L1)
    oracles.assert_close(outputs(converted), outputs(model))
    compact = keras_lc.to_compact(converted)
    assert compact.get_layer("conv").is_factored
    oracles.assert_close(outputs(compact), outputs(model))
    for copy in (keras_lc.to_lc(converted, 2), keras_lc.freeze_spatial(compact)):
        assert type(copy.get_layer("conv")) is FORMS[plain].lc


@pytest.mark.once
@kinds
def test_too_few_filters_to_keep_kernels_are_refused_with_the_number_that_suffices(plain):
    model = network(plain)
    layer = model.get_layer("conv")
    *shape, filters = kernel_of(layer).shape
    numbers = np.prod(shape)
    if "Depthwise" in plain.__name__:
        filters = layer.depth_multiplier
    numbers_of_layer = numbers * getattr(layer, "groups", 1)
    for name, needed in (
        ("expansion", int(np.ceil(numbers_of_layer / filters))),
        ("rank", int(numbers_of_layer)),
    ):
        given = (
            {name: needed - getattr(layer, "groups", 1)} if name == "rank" else {name: needed - 1}
        )
        with pytest.raises(ValueError, match=rf"The smallest {name} for all of them is {needed};"):
            keras_lc.to_lc(model, **given, keep_kernels=True, seed=0)


@pytest.mark.once
@kinds
def test_a_constraint_and_a_subclass_are_refused(plain):
    name = "depthwise_constraint" if "Depthwise" in plain.__name__ else "kernel_constraint"
    with pytest.raises(ValueError, match="conv: a `kernel_constraint` has no meaning"):
        keras_lc.to_lc(network(plain, **{name: "non_neg"}), 2)
    own = type("Own", (plain,), {})
    model = keras.Sequential([own(kernel_size=3, name="conv", **OPTIONS[plain.__name__])])
    model.build((2, *[6] * model.layers[0].rank, 4))
    for function in (keras_lc.freeze_spatial, lambda m: keras_lc.to_lc(m, 2)):
        with pytest.raises(ValueError, match=r"conv \(Own\)"):
            function(model)


@pytest.mark.once
@kinds
def test_an_lc_layer_is_measured_by_its_combined_kernel(plain):
    converted = keras_lc.to_lc(network(plain), 3, seed=0)
    (row,) = filter_report(converted)
    (plain_row,) = filter_report(keras_lc.fold(converted))
    layer = converted.get_layer("conv")
    assert row["kernel_size"] == "x".join(["3"] * layer.rank)
    assert row.pop("type") == FORMS[plain].lc.__name__
    assert plain_row.pop("type") == plain.__name__
    assert row.pop("combination_sparsity") is not None
    assert plain_row.pop("combination_sparsity") is None
    for key, value in plain_row.items():
        assert row[key] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)
    (rated,) = lc_rate(converted).layers
    assert rated["combined"] == "all" and rated["filters"] == layer.basis_filters


@pytest.mark.once
@pytest.mark.parametrize("plain", SEPARABLE, ids=lambda plain: plain.__name__)
def test_a_separable_convolution_becomes_the_two_it_consists_of(plain):
    layer = plain(5, 3, strides=2, depth_multiplier=2, activation="relu", name="conv")
    sides = layer.rank
    model = keras.Sequential([keras.Input((*[7, 6][:sides], 4)), layer])
    layer.bias.assign(oracles.images(5))
    frozen = keras_lc.freeze_spatial(model, seed=0)
    depthwise, pointwise = SEPARABLE[plain]
    assert [type(x) for x in frozen.layers] == [FORMS[depthwise].frozen, pointwise]
    frozen.layers[0].basis.assign(oracles.numpy(layer.depthwise_kernel))
    x = oracles.images(2, *[7, 6][:sides], 4)
    oracles.assert_close(frozen(x), model(x))

"""`to_lc`: linear combinations of random filters in the place of spatial convolutions."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc.layers import LCConv2D
from tests import oracles


def conv(filters, kernel_size=3, **options):
    return keras.layers.Conv2D(filters, kernel_size, **options)


def model_of(*layers):
    return keras.Sequential([keras.Input((8, 8, 4)), *layers])


def test_spatial_convolutions_become_lc_layers_with_their_options_and_bias():
    plain = conv(6, strides=2, padding="same", groups=2, activation="relu", name="conv")
    model = model_of(plain, conv(3, 1, name="pointwise"))
    plain.bias.assign(oracles.images(6))
    converted = keras_lc.to_lc(model, expansion=5, seed=0)
    layer = converted.get_layer("conv")
    assert type(layer) is LCConv2D and layer.expansion == 5 and layer.frozen
    assert (layer.strides, layer.padding, layer.groups) == ((2, 2), "same", 2)
    assert layer.activation is keras.activations.relu
    np.testing.assert_array_equal(oracles.numpy(layer.bias), oracles.numpy(plain.bias))
    assert type(converted.get_layer("pointwise")) is keras.layers.Conv2D
    np.testing.assert_array_equal(
        oracles.numpy(converted.get_layer("pointwise").kernel),
        oracles.numpy(model.get_layer("pointwise").kernel),
    )


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("groups", [1, 2])
def test_keep_kernels_starts_from_the_function_of_the_model(groups, compact):
    model = model_of(conv(8, groups=groups), conv(6, groups=groups, use_bias=False))
    converted = keras_lc.to_lc(model, expansion=14, compact=compact, seed=0, keep_kernels=True)
    x = oracles.images(2, 8, 8, 4)
    assert all(type(layer) is LCConv2D for layer in converted.layers)
    np.testing.assert_allclose(
        oracles.numpy(converted(x)), oracles.numpy(model(x)), rtol=1e-4, atol=1e-5
    )


def test_the_combination_is_the_least_squares_one():
    model = model_of(conv(8, use_bias=False, name="conv"))
    layer = keras_lc.to_lc(model, expansion=7, seed=0, keep_kernels=True).get_layer("conv")
    basis = oracles.numpy(layer.basis).reshape(36, 56).astype("float64")
    kernel = oracles.numpy(model.get_layer("conv").kernel).reshape(36, 8)
    expected = np.linalg.lstsq(basis, kernel, rcond=None)[0]
    np.testing.assert_allclose(oracles.numpy(layer.combination), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.once
def test_too_few_filters_to_keep_kernels_are_refused_with_the_number_that_suffices():
    model = model_of(conv(8, name="first"), conv(6, name="second"))
    with pytest.raises(
        ValueError, match=r"first \(needs 5\), second \(needs 12\).*all of them is 12"
    ):
        keras_lc.to_lc(model, expansion=4, seed=0, keep_kernels=True)


@pytest.mark.once
def test_kernels_that_the_filters_cannot_give_are_refused():
    """In bfloat16, whose 8 bits round the combination by more than a thousandth."""
    model = model_of(conv(8, dtype="bfloat16", name="conv"))
    with pytest.raises(ValueError, match=r"'conv'.* cannot be built from its random filters"):
        keras_lc.to_lc(model, expansion=9, seed=0, keep_kernels=True)


def test_converting_twice_is_converting_once():
    once = keras_lc.to_lc(model_of(conv(4), conv(4, 1)), expansion=2, seed=0)
    twice = keras_lc.to_lc(once, expansion=3, seed=1)
    for actual, expected in zip(twice.get_weights(), once.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.once
def test_regularizer_of_the_kernel_becomes_that_of_the_combination():
    model = model_of(conv(4, kernel_regularizer=keras.regularizers.L2(0.1), name="conv"))
    layer = keras_lc.to_lc(model, expansion=2, seed=0).get_layer("conv")
    assert layer.combination_regularizer.l2 == pytest.approx(0.1)


def test_a_learned_basis_is_trained():
    converted = keras_lc.to_lc(model_of(conv(4, use_bias=False)), 2, frozen=False, seed=0)
    assert [v.name for v in converted.trainable_variables] == ["basis", "combination"]


def test_converted_models_train_save_and_fold(tmp_path):
    converted = keras_lc.to_lc(
        model_of(conv(4), keras.layers.GlobalAveragePooling2D()), expansion=3, seed=0
    )
    converted.compile("sgd", "mse")
    x = oracles.images(4, 8, 8, 4)
    converted.fit(x, np.ones((4, 4), "float32"), verbose=0)
    converted.save(tmp_path / "lc.keras")
    loaded = keras.saving.load_model(tmp_path / "lc.keras")
    np.testing.assert_array_equal(oracles.numpy(loaded(x)), oracles.numpy(converted(x)))
    oracles.assert_close(keras_lc.fold(converted)(x), oracles.numpy(converted(x)))


@pytest.mark.once
def test_constraints_and_subclasses_are_refused():
    class Own(keras.layers.Conv2D):
        pass

    with pytest.raises(ValueError, match=r"conv: a `kernel_constraint` has no meaning"):
        keras_lc.to_lc(model_of(conv(4, kernel_constraint="non_neg", name="conv")), 2)
    with pytest.raises(ValueError, match=r"own \(Own\): a subclass of Conv2D"):
        keras_lc.to_lc(model_of(Own(4, 3, name="own")), 2)


@pytest.mark.once
@pytest.mark.parametrize("expansion", [0, 1.5, True])
def test_expansion_is_checked(expansion):
    with pytest.raises(ValueError, match="`expansion` must be an integer of at least 1"):
        keras_lc.to_lc(model_of(conv(4)), expansion)


# --- The model's own kernels as the basis ---


@pytest.mark.parametrize("groups", [1, 2])
def test_own_kernels_start_from_the_identity_and_the_function_of_the_model(groups):
    model = model_of(conv(8, groups=groups, name="conv"), conv(6, groups=groups, use_bias=False))
    converted = keras_lc.to_lc(model, basis="kernels")
    layer, kernel = converted.get_layer("conv"), oracles.numpy(model.get_layer("conv").kernel)
    np.testing.assert_array_equal(oracles.numpy(layer.basis), kernel)
    np.testing.assert_array_equal(oracles.numpy(layer.kernel), kernel)
    identity = np.eye(8 // groups)
    for group in np.split(oracles.numpy(layer.combination), groups, axis=1):
        np.testing.assert_array_equal(group, identity)
    assert [variable.name for variable in layer.trainable_variables] == ["combination", "bias"]
    x = oracles.images(2, 8, 8, 4)
    np.testing.assert_array_equal(oracles.numpy(converted(x)), oracles.numpy(model(x)))


def test_only_the_combinations_of_own_kernels_learn_and_a_file_holds_both(tmp_path):
    model = model_of(conv(8, name="conv"), keras.layers.Flatten(), keras.layers.Dense(3))
    converted = keras_lc.to_lc(model, basis="kernels")
    converted.compile("sgd", "sparse_categorical_crossentropy")
    converted.fit(oracles.images(8, 8, 8, 4), np.arange(8) % 3, verbose=0)
    layer = converted.get_layer("conv")
    kernel = oracles.numpy(model.get_layer("conv").kernel)
    np.testing.assert_array_equal(oracles.numpy(layer.basis), kernel)
    assert (oracles.numpy(layer.combination) != np.eye(8)).any()
    converted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    folded = keras_lc.fold(loaded)
    assert type(folded.get_layer("conv")) is keras.layers.Conv2D
    expected = np.einsum(
        "hwcb,bf->hwcf", kernel.astype("float64"), oracles.numpy(layer.combination)
    )
    oracles.assert_close(folded.get_layer("conv").kernel, expected)
    x = oracles.images(2, 8, 8, 4)
    oracles.assert_close(folded(x), oracles.numpy(converted(x)))


@pytest.mark.once
def test_own_random_filters_are_still_stored_as_their_seed():
    frozen = keras_lc.freeze_spatial(model_of(conv(8, groups=2, name="conv")), seed=0)
    layer = keras_lc.to_lc(frozen, basis="kernels").get_layer("conv")
    np.testing.assert_array_equal(
        oracles.numpy(layer.kernel), oracles.numpy(frozen.get_layer("conv").kernel)
    )
    assert layer.has_seeded_basis()


@pytest.mark.once
@pytest.mark.parametrize("other", [{"expansion": 2}, {"rank": 8}, {"compact": True}])
def test_own_kernels_have_no_other_number_of_filters(other):
    with pytest.raises(ValueError, match=f"leave out .*Received: .*{next(iter(other))}="):
        keras_lc.to_lc(model_of(conv(8)), basis="kernels", **other)


OTHERS = {
    "DepthwiseConv2D": ((8, 8, 4), dict(kernel_size=3, depth_multiplier=2)),
    "Conv1D": ((9, 4), dict(filters=6, kernel_size=3, groups=2)),
    "Conv3D": ((5, 5, 5, 2), dict(filters=3, kernel_size=2)),
    "Conv2DTranspose": ((5, 5, 4), dict(filters=6, kernel_size=3, strides=2)),
}


@pytest.mark.once
@pytest.mark.parametrize("random", [False, True])
@pytest.mark.parametrize("kind", OTHERS)
def test_own_kernels_of_other_convolutions_are_a_basis_too(kind, random, tmp_path):
    shape, arguments = OTHERS[kind]
    layer = getattr(keras.layers, kind)(**arguments, name="conv")
    model = keras.Sequential([keras.Input(shape), layer])
    if random:
        model = keras_lc.freeze_spatial(model, seed=0)
    converted = keras_lc.to_lc(model, basis="kernels")
    x = oracles.images(2, *shape)
    oracles.assert_close(converted(x), oracles.numpy(model(x)))
    combined = converted.get_layer("conv")
    assert combined.has_seeded_basis() == random
    assert [v.name for v in combined.trainable_variables] == ["combination", "bias"]
    converted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    oracles.assert_close(keras_lc.fold(loaded)(x), oracles.numpy(model(x)))

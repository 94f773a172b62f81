"""Loading changes a layer wholly or, with an error, not at all."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc import FrozenConv2D, LCConv2D, RandomCropFlip, RandomResizedCropFlip
from keras_lc.layers import (
    FanInUniform,
    FrozenDepthwiseConv2D,
    GramLimitConv2D,
    PositionEmbedding,
    SharedBasis,
    StochasticDepth,
)
from keras_lc.surgery.spatial_convolutions import FORMS
from tests import oracles

SHAPE = (2, 9, 8, 4)


def of_keras(plain, cls):
    """Returns what makes a layer that can take the place of a convolution of Keras."""
    filters = {} if "Depthwise" in plain.__name__ else {"filters": 4}
    return lambda seed: cls(kernel_size=3, seed=seed, **filters)


LAYERS = {
    "LC": lambda seed: LCConv2D(6, 3, expansion=2, seed=seed),
    "LC, learned basis": lambda seed: LCConv2D(6, 3, frozen=False, seed=seed),
    "LC, own initializer": lambda seed: LCConv2D(6, 3, basis_initializer="ones", seed=seed),
    "LC, compact": lambda seed: LCConv2D(6, 3, expansion=8, compact=True, seed=seed),
    "LC, shared basis": lambda seed: LCConv2D(6, 3, shared_basis=SharedBasis(216), seed=seed),
    "frozen": lambda seed: FrozenConv2D(6, 3, seed=seed),
    "frozen depthwise": lambda seed: FrozenDepthwiseConv2D(3, seed=seed),
    **{
        cls.__name__: of_keras(plain, cls)
        for plain, forms in FORMS.items()
        for cls in forms
        if cls not in (LCConv2D, FrozenConv2D, FrozenDepthwiseConv2D)
    },
    "GramLimit": lambda seed: GramLimitConv2D(6, 3, seed=seed),
    "PositionEmbedding": lambda seed: PositionEmbedding(FanInUniform(seed)),
    "RandomCropFlip": lambda seed: RandomCropFlip(seed=seed),
    "RandomResizedCropFlip": lambda seed: RandomResizedCropFlip(seed=seed),
    "StochasticDepth": lambda seed: StochasticDepth(0.1, seed=seed),
    "shared numbers": lambda seed: SharedBasis(8, seed=seed).layer("float32"),
}


def built(name, seed):
    layer = LAYERS[name](seed)
    if not layer.built:
        sides = getattr(layer, "rank", 2)
        layer.build(SHAPE if sides == 2 else (2, *[5] * sides, 4))
    return layer


def stored(layer):
    store = {}
    layer.save_own_variables(store)
    return {
        name: np.array(keras.ops.convert_to_numpy(value))
        if isinstance(value, keras.Variable)
        else value
        for name, value in store.items()
    }


def seed_of(layer):
    return getattr(getattr(layer, "shared", layer), "seed", None)


def assert_refused_and_unchanged(layer, store, match):
    seed = seed_of(layer)
    values = [oracles.numpy(v).copy() for v in layer.variables]
    with pytest.raises(ValueError, match=match):
        layer.load_own_variables(store)
    assert seed_of(layer) == seed
    for variable, value in zip(layer.variables, values, strict=True):
        np.testing.assert_array_equal(oracles.numpy(variable), value)


def test_all_layers_that_load_in_their_own_way_are_tested_here():
    own = {
        cls
        for cls in vars(keras_lc.layers).values()
        if isinstance(cls, type)
        and issubclass(cls, keras.layers.Layer)
        and cls.load_own_variables.__module__.startswith("keras_lc.")
    }
    assert own <= {type(built(name, 0)) for name in LAYERS}


@pytest.mark.parametrize("name", LAYERS)
def test_what_was_stored_loads_into_a_layer_of_another_seed(name):
    layer, other = built(name, 1), built(name, 2)
    other.load_own_variables(stored(layer))
    for actual, expected in zip(other.weights, layer.weights, strict=True):
        if actual.name != "numbers" or name == "shared numbers":  # another layer's
            np.testing.assert_array_equal(oracles.numpy(actual), oracles.numpy(expected))


@pytest.mark.once
@pytest.mark.parametrize("name", LAYERS)
def test_an_array_of_another_shape_changes_nothing(name):
    store = stored(built(name, 1))
    for array in set(store) - {"seed", "basis_fingerprint"}:
        other = dict(store) | {array: np.zeros((*store[array].shape, 2), "float32")}
        assert_refused_and_unchanged(built(name, 2), other, rf"other shapes .*'{array}'")


@pytest.mark.once
@pytest.mark.parametrize("name", LAYERS)
def test_a_missing_or_further_array_changes_nothing(name):
    store = stored(built(name, 1))
    for array in store:
        fewer = {key: value for key, value in store.items() if key != array}
        match = "expects the variables|share one basis in the file"
        assert_refused_and_unchanged(built(name, 2), fewer, match)
    assert_refused_and_unchanged(built(name, 2), store | {"gamma": np.ones(6)}, "'gamma'")


@pytest.mark.once
@pytest.mark.parametrize("name", ["LC", "LC, compact", "frozen", "frozen depthwise"])
def test_another_fingerprint_changes_nothing(name):
    store = stored(built(name, 1)) | {"basis_fingerprint": np.array(1, "uint64")}
    assert_refused_and_unchanged(built(name, 2), store, "cannot be regenerated")


@pytest.mark.parametrize(
    "arguments",
    [{}, {"frozen": False}, {"compact": True, "expansion": (16, 8)}],
    ids=["frozen", "learned", "compact"],
)
def test_skip_mismatch_leaves_out_a_layer_whose_basis_alone_fits(arguments, tmp_path):
    def model(filters, expansion, seed):
        options = arguments | {"expansion": expansion}
        lc = LCConv2D(filters, 3, use_bias=False, seed=seed, name="lc", **options)
        dense = keras.layers.Dense(2, name="dense")
        return keras.Sequential(
            [keras.Input(SHAPE[1:]), lc, keras.layers.GlobalAveragePooling2D(), dense]
        )

    expansions = arguments.get("expansion", (4, 2))
    model(4, expansions[0], seed=1).save_weights(tmp_path / "model.weights.h5")
    other = model(8, expansions[1], seed=2)  # as many random filters
    before = [oracles.numpy(v).copy() for v in other.get_layer("lc").weights]
    with pytest.warns(UserWarning, match="'combination' .*where the layer has"):
        other.load_weights(tmp_path / "model.weights.h5", skip_mismatch=True)
    assert other.get_layer("lc").seed == 2
    for variable, value in zip(other.get_layer("lc").weights, before, strict=True):
        np.testing.assert_array_equal(oracles.numpy(variable), value)

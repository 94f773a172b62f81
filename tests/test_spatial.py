import keras
import numpy as np
import pytest

import keras_lc
from keras_lc import spatial


def layer_of(operator, strides=1, seed=3, name="conv"):
    inputs = keras.Input((9, 9, 2))
    outputs = operator(inputs, 4, 3, strides, seed, "channels_last", name)
    return keras.Model(inputs, outputs)


@pytest.mark.parametrize(
    ("name", "operator", "layer"),
    [
        ("learned", spatial.Learned(), keras.layers.Conv2D),
        ("frozen", spatial.Frozen(), keras_lc.FrozenConv2D),
        ("lc", spatial.LC(), keras_lc.LCConv2D),
        ("gram_limit", spatial.GramLimit(), keras_lc.layers.GramLimitConv2D),
    ],
)
def test_operators_have_names_and_layers(name, operator, layer):
    assert spatial.get(name) == operator
    assert spatial.get(operator) is operator
    found = layer_of(operator).get_layer("conv")
    assert type(found) is layer and not found.use_bias


def test_strided_operators_pad_every_side_as_pytorch_does():
    model = layer_of(spatial.Learned(), strides=2)
    x = np.random.default_rng(0).normal(size=(1, 9, 9, 2)).astype("float32")
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    kernel = keras.ops.convert_to_numpy(model.get_layer("conv").kernel)
    got = keras.ops.convert_to_numpy(model(x))
    assert got.shape == (1, 5, 5, 4)
    for row, column in [(0, 0), (0, 4), (4, 0), (2, 3), (4, 4)]:
        window = padded[0, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        expected = np.einsum("hwc,hwcf->f", window, kernel)
        np.testing.assert_allclose(got[0, row, column], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("operator", [spatial.Frozen, spatial.LC])
def test_a_seed_of_its_own_stands_before_the_models(operator):
    def basis(own, models, name="conv"):
        layer = layer_of(operator(seed=own), seed=models, name=name).get_layer(name)
        return keras.ops.convert_to_numpy(layer.basis)

    np.testing.assert_array_equal(basis(7, 1), basis(7, 2))
    np.testing.assert_array_equal(basis(None, 1), basis(None, 1))
    assert (basis(None, 1) != basis(None, 2)).any()
    assert (basis(7, 1) != basis(7, 1, name="other")).any()


def test_lc_passes_its_options_on():
    layer = layer_of(spatial.LC(expansion=3, frozen=False)).get_layer("conv")
    assert (layer.expansion, layer.frozen) == (3, False)
    block = layer_of(spatial.LC(expansion=3, frozen=False, between="bn")).get_layer("conv")
    assert (type(block), block.expansion, block.frozen) == (keras_lc.layers.LCBlock, 3, False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spatial.LC(expansion=0), r"`expansion` must be .*expansion=0"),
        (lambda: spatial.GramLimit(expansion=1.5), r"`expansion` must be .*expansion=1.5"),
        (lambda: spatial.LC(between="gelu"), r"`between` must be None or one of .*'gelu'"),
        (lambda: spatial.Frozen(seed=-2), r"`seed` must be at least 0.*seed=-2"),
        (lambda: spatial.get("lcs"), r"`spatial` must be one of .*'lcs'"),
        (lambda: spatial.get(3), r"`spatial` must be one of .*spatial=3"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()

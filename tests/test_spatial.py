import dataclasses

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc import bases, spatial
from keras_lc.analysis.report import spatial_layers
from keras_lc.layers.accelerated import keras_class
from keras_lc.layers.shared_basis import SharedBasis
from tests import oracles


def layer_of(operator, strides=1, seed=3, name="conv"):
    inputs = keras.Input((9, 9, 2))
    outputs = operator(inputs, 4, 3, strides, seed, "channels_last", name)
    return keras.Model(inputs, outputs)


@pytest.mark.once
@pytest.mark.parametrize(
    ("name", "operator", "layer"),
    [
        ("learned", spatial.Learned(), keras.layers.Conv2D),
        ("frozen", spatial.Frozen(), keras_lc.FrozenConv2D),
        ("lc", spatial.LC(), keras_lc.LCConv2D),
        ("gram_limit", spatial.GramLimit(), keras_lc.layers.GramLimitConv2D),
        ("hybrid", spatial.Hybrid(), keras.layers.Conv2D),
    ],
)
def test_operators_have_names_and_layers(name, operator, layer):
    assert spatial.get(name) == operator
    assert spatial.get(operator) is operator
    found = layer_of(operator, strides=2).get_layer("conv")
    assert keras_class(found) is layer and not found.use_bias


@dataclasses.dataclass(frozen=True)
class MyBlur(spatial.SpatialOperator):
    radius: float = 1.0
    kind: str | None = None
    seed: int | None = None

    def layer(self, filters, seed, **geometry):
        return keras.layers.Conv2D(filters, use_bias=False, **geometry)


@dataclasses.dataclass(frozen=True)
class ScaledLC(spatial.LC):
    scale: float = 1.0


class Plain(spatial.Learned):
    pass


NAMES = {
    "": spatial.Learned(),
    "plain": Plain(),
    "frozen": spatial.Frozen(),
    "frozen_gabor": spatial.Frozen(basis="gabor"),
    "lc_x1": spatial.LC(),
    "lc_x8": spatial.LC(8),
    "lc_learnable_x8": spatial.LC(8, frozen=False),
    "lc_relu_x8": spatial.LC(8, between="relu"),
    "lc_learnable_bn_relu_x8": spatial.LC(8, frozen=False, between="bn_relu"),
    "lc_r8": spatial.LC(rank=8),
    "lc_dct_x8": spatial.LC(8, basis="dct"),
    "lc_sparse_taps_2_bn_x8": spatial.LC(8, between="bn", basis=bases.Sparse(2)),
    "lc_shared_x8": spatial.LC(8, shared=True),
    "scaled_lc_x8": ScaledLC(8),
    "scaled_lc_scale_minus0_5_x8": ScaledLC(8, scale=-0.5),
    "scaled_lc_scale_0_5_x8": ScaledLC(8, scale=0.5),
    "gram_limit_x8": spatial.GramLimit(8),
    "max": spatial.MaxPool(),
    "average": spatial.AveragePool(),
    "depthwise": spatial.Depthwise(),
    "hybrid": spatial.Hybrid(),
    "my_blur": MyBlur(),
    "my_blur_radius_2_5_kind_box": MyBlur(2.5, "box"),
}


@pytest.mark.once
@pytest.mark.parametrize("name", NAMES)
def test_operators_name_themselves(name):
    assert NAMES[name].name == name


@pytest.mark.once
def test_what_makes_no_other_network_is_in_no_name():
    assert spatial.LC(8, compact=True, seed=3).name == "lc_x8"
    assert spatial.Frozen(seed=3).name == "frozen" and MyBlur(seed=3).name == "my_blur"


@pytest.mark.once
def test_names_hold_no_addresses():
    assert MyBlur(kind=object()).name == "my_blur_kind_object"
    assert MyBlur(kind=abs).name == "my_blur_kind_abs"
    assert spatial.LC(8, shared=SharedBasis(size=9, seed=1)).name == "lc_shared_x8"


@pytest.mark.once
def test_names_of_networks_are_told_apart_by_their_operators():
    for size, width in (("20", "16"), ("18d", ""), ("", "")):
        names = {operator.network_name("resnet", size, width) for operator in NAMES.values()}
        assert len(names) == len(NAMES)


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


def numpy_max_pool(x, size, strides):
    """PyTorch's `MaxPool2d(size, strides, size // 2)`, channels last."""
    pad = size // 2
    padded = np.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
    return windows.max((-2, -1))[:, ::strides, ::strides]


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("side", [8, 9])
def test_max_pools_see_no_padding_among_negative_inputs(size, strides, side):
    inputs = keras.Input((side, side, 2))
    outputs = spatial.get("max")(inputs, 2, size, strides, 0, "channels_last", "conv")
    x = np.random.default_rng(0).normal(-5, 1, (2, side, side, 2)).astype("float32")
    got = keras.ops.convert_to_numpy(keras.Model(inputs, outputs)(x))
    np.testing.assert_array_equal(got, numpy_max_pool(x, size, strides))


@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize("side", [8, 9])
@pytest.mark.parametrize(
    ("before", "is_once"),
    [
        (lambda: keras.layers.ReLU(), True),
        (lambda: keras.layers.ReLU(6.0), True),
        (lambda: keras.layers.ReLU(negative_slope=0.1), False),
        (lambda: keras.layers.Activation("hard_swish"), False),
    ],
)
def test_behind_a_relu_a_strided_max_pool_is_computed_where_it_is_needed(
    size, side, before, is_once
):
    inputs = keras.Input((side, side, 2))
    activation = before()
    outputs = spatial.get("max")(activation(inputs), 2, size, 2, 0, "channels_last", "conv")
    model = keras.Model(inputs, outputs)
    strides = {layer.strides for layer in model.layers if layer.name == "conv_pool"}
    assert strides == ({(2, 2)} if is_once else {(1, 1)})
    x = np.random.default_rng(0).normal(0, 4, (2, side, side, 2)).astype("float32")
    expected = numpy_max_pool(keras.ops.convert_to_numpy(activation(x)), size, 2)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), expected)


def test_hybrid_pools_where_the_size_stays_and_averages_and_convolves_where_it_halves():
    inputs = keras.Input((8, 8, 2))
    hybrid = spatial.get("hybrid")
    kept = keras.Model(inputs, hybrid(inputs, 2, 3, 1, 0, "channels_last", "conv"))
    x = np.random.default_rng(0).normal(size=(1, 8, 8, 2)).astype("float32")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(kept(x)), numpy_max_pool(x, 3, 1))
    halved = keras.Model(inputs, hybrid(inputs, 4, 3, 2, 0, "channels_last", "conv"))
    kernel = keras.ops.convert_to_numpy(halved.get_layer("conv").kernel)
    means = x.reshape(1, 4, 2, 4, 2, 2).mean((2, 4))
    expected = oracles.conv2d(means, kernel, padding="same")
    oracles.assert_close(halved(x), expected)
    assert not hybrid.is_normalized(1) and hybrid.is_normalized(2)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("strides", [1, 2])
def test_an_average_pool_is_a_depthwise_convolution_with_equal_weights(strides, data_format):
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 3)).astype("float32")
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    expected = windows.mean((-1, -2))[:, ::strides, ::strides]
    to_format = (0, 3, 1, 2) if data_format == "channels_first" else (0, 1, 2, 3)
    x, expected = x.transpose(to_format), expected.transpose(to_format)
    inputs = keras.Input(x.shape[1:])
    outputs = spatial.AveragePool()(inputs, 3, 3, strides, 0, data_format, "conv")
    oracles.assert_close(keras.Model(inputs, outputs)(x), expected)


def test_depthwise_is_the_learned_convolution_with_a_group_for_each_channel():
    inputs = keras.Input((9, 9, 4))
    place = (inputs, 4, 3, 2, 0, "channels_last", "conv")
    x = np.random.default_rng(0).normal(size=(2, 9, 9, 4)).astype("float32")
    ours = keras.Model(inputs, spatial.Depthwise()(*place))
    learned = keras.Model(inputs, spatial.Learned()(*place, groups=4))
    assert keras_class(ours.get_layer("conv")) is keras.layers.DepthwiseConv2D
    oracles.assert_close(ours(x), learned(x))
    assert spatial.Depthwise().is_normalized(1) and not spatial.AveragePool().is_normalized(1)


@pytest.mark.once
@pytest.mark.parametrize("name", ["max", "average", "depthwise", "hybrid"])
def test_pools_leave_the_stem_to_a_learned_convolution(name):
    assert spatial.get(name).for_stem() == spatial.Learned()
    assert spatial.LC(8).for_stem() == spatial.LC(8)


@pytest.mark.once
@pytest.mark.parametrize(
    ("operator", "layer"),
    [
        (spatial.Learned(), keras.layers.DepthwiseConv2D),
        (spatial.Frozen(), keras_lc.layers.FrozenDepthwiseConv2D),
        (spatial.LC(2), keras_lc.LCConv2D),
        (spatial.LC(2, between="bn"), keras_lc.layers.LCBlock),
    ],
)
def test_a_group_for_each_channel_is_a_depthwise_convolution(operator, layer):
    inputs = keras.Input((8, 8, 4))
    for groups, kind in ((4, layer), (2, keras_class(layer_of(operator).get_layer("conv")))):
        model = keras.Model(
            inputs, operator(inputs, 4, 3, 1, 0, "channels_last", "conv", groups=groups)
        )
        assert keras_class(model.get_layer("conv")) is kind


@pytest.mark.once
def test_learned_depthwise_filters_have_pytorchs_distribution():
    inputs = keras.Input((8, 8, 512))
    outputs = spatial.Learned()(inputs, 512, 3, 1, 0, "channels_last", "conv", groups=512)
    kernel = keras.ops.convert_to_numpy(keras.Model(inputs, outputs).get_layer("conv").kernel)
    assert 0.3 < np.abs(kernel).max() <= 1 / 3
    assert abs(kernel.std() * 3 * 3**0.5 - 1) < 0.05


@pytest.mark.once
@pytest.mark.parametrize(
    "operator", [spatial.MaxPool(), spatial.AveragePool(), spatial.Depthwise()]
)
def test_operators_within_bottlenecks_keep_the_number_of_channels(operator):
    with pytest.raises(
        ValueError, match=r"`filters` must equal the number of input channels.*filters=4"
    ):
        layer_of(operator)


@pytest.mark.once
@pytest.mark.parametrize("operator", [spatial.Frozen, spatial.LC])
def test_a_seed_of_its_own_stands_before_the_models(operator):
    def basis(own, models, name="conv"):
        layer = layer_of(operator(seed=own), seed=models, name=name).get_layer(name)
        return keras.ops.convert_to_numpy(layer.basis)

    np.testing.assert_array_equal(basis(7, 1), basis(7, 2))
    np.testing.assert_array_equal(basis(None, 1), basis(None, 1))
    assert (basis(None, 1) != basis(None, 2)).any()
    assert (basis(7, 1) != basis(7, 1, name="other")).any()


@pytest.mark.once
def test_lc_passes_its_options_on():
    layer = layer_of(spatial.LC(expansion=3, frozen=False)).get_layer("conv")
    assert (layer.expansion, layer.frozen) == (3, False)
    block = layer_of(spatial.LC(expansion=3, frozen=False, between="bn")).get_layer("conv")
    assert (type(block), block.expansion, block.frozen) == (keras_lc.layers.LCBlock, 3, False)


@pytest.mark.once
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


@dataclasses.dataclass(frozen=True)
class Wide(spatial.SpatialOperator):
    """An operator of one's own: it only says which layer it is."""

    gain: float = 1.0

    def layer(self, filters, seed, use_bias=False, **geometry):
        return Own(filters, use_bias=use_bias, **geometry)


class Own(keras_lc.layers.OwnKernel, keras_lc.layers.Conv2D):
    pass


BUILDERS = {
    "CIFARResNet": lambda **k: keras_lc.CIFARResNet(8, 8, **k),
    "ResNet": lambda **k: keras_lc.ResNet(18, width=8, **k),
    "MobileNetV2": lambda **k: keras_lc.MobileNetV2(width_multiplier=0.25, **k),
    "MobileNetV3Large": lambda **k: keras_lc.MobileNetV3Large(width_multiplier=0.25, **k),
    "ViT": lambda **k: keras_lc.ViT("tiny", **k),
    "PiT": lambda **k: keras_lc.PiT("tiny", **k),
}


@pytest.mark.once
@pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)
def test_an_operator_of_ones_own_is_in_every_network_and_in_its_name(build):
    model = build(spatial=Wide(gain=2.0), input_shape=(32, 32, 3), classes=10)
    assert {type(layer) for layer in spatial_layers(model).values()} == {Own}
    assert model.name.endswith("_wide_gain_2_0")

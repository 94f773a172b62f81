"""`lc_rate`: which spatial convolutions are followed by trained linear combinations."""

import math
import re

import keras
import pytest

import keras_lc
from keras_lc.analysis import filter_report, lc_rate

pytestmark = pytest.mark.once

INPUTS = (8, 8, 4)


def rows(model):
    return {row["layer"]: row for row in lc_rate(model).layers}


def conv(filters, kernel_size, name, **options):
    return keras.layers.Conv2D(filters, kernel_size, padding="same", name=name, **options)


def test_a_pointwise_convolution_behind_normalization_and_relu_combines():
    model = keras.Sequential(
        [
            keras.Input(INPUTS),
            conv(6, 3, "spatial"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
            conv(9, 1, "pointwise"),
        ]
    )
    row = rows(model)["spatial"]
    assert (row["filters"], row["combinations"], row["combined"]) == (6, 9, "all")
    assert row["followers"] == ["pointwise"] and row["alone_to"] == []
    assert lc_rate(model).rate == 1


def test_a_spatial_convolution_gets_the_filters_alone():
    model = keras.Sequential([keras.Input(INPUTS), conv(6, 3, "a"), conv(6, 3, "b")])
    found = rows(model)
    assert found["a"]["combined"] == "none" and found["a"]["alone_to"] == ["b"]
    assert found["b"]["alone_to"] == ["output"]
    assert lc_rate(model).rate == 0


def test_a_shortcut_past_the_combination_makes_it_some():
    inputs = keras.Input(INPUTS)
    x = conv(4, 3, "spatial")(inputs)
    outputs = keras.layers.Add()([x, conv(4, 1, "pointwise")(x)])
    row = rows(keras.Model(inputs, outputs))["spatial"]
    assert row["combined"] == "some"
    assert (row["followers"], row["alone_to"]) == (["pointwise"], ["output"])


def test_a_frozen_pointwise_convolution_and_a_scale_of_channels_combine_nothing():
    for follower in (
        conv(4, 1, "follower", trainable=False),
        conv(4, 1, "follower", groups=4),
    ):
        model = keras.Sequential([keras.Input(INPUTS), conv(4, 3, "spatial"), follower])
        assert rows(model)["spatial"]["combined"] == "none"


def test_lc_layers_and_separable_convolutions_combine_their_own():
    model = keras.Sequential(
        [
            keras.Input(INPUTS),
            keras_lc.LCConv2D(4, 3, expansion=3, name="lc"),
            keras.layers.SeparableConv2D(5, 3, name="separable"),
        ]
    )
    found = rows(model)
    assert (found["lc"]["filters"], found["lc"]["combinations"]) == (12, 4)
    assert (found["separable"]["filters"], found["separable"]["combinations"]) == (4, 5)
    assert lc_rate(model).rate == 1


def test_layers_of_nested_models_are_followed_across_their_borders():
    inner = keras.Sequential([keras.Input(INPUTS), conv(4, 3, "spatial")], name="inner")
    model = keras.Sequential([keras.Input(INPUTS), inner, conv(7, 1, "pointwise")])
    row = rows(model)["inner/spatial"]
    assert row["followers"] == ["pointwise"] and row["combined"] == "all"


def test_networks_of_the_paper():
    """Basic blocks have no pointwise convolution behind their filters; inverted ones do."""
    resnet = lc_rate(keras_lc.CIFARResNet(depth=8, width=4, seed=0))
    assert resnet.rate < 0.2
    assert lc_rate(keras_lc.ResNetLC(depth=8, width=4, expansion=2, seed=0)).rate == 1
    mobile = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=10)
    found = rows(mobile)
    depthwise = [row for row in found.values() if row["type"] == "DepthwiseConv2D"]
    assert len(depthwise) == 17 and all(row["combined"] == "all" for row in depthwise)


def test_the_table_ends_with_the_rate():
    text = str(lc_rate(keras.Sequential([keras.Input(INPUTS), conv(4, 3, "spatial")])))
    assert text.splitlines()[0].split()[:2] == ["layer", "type"]
    assert text.splitlines()[-1] == "LC rate 0.00: 0 of 1 layers"


def test_without_a_spatial_convolution_there_is_no_rate():
    found = lc_rate(keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Conv2D(4, 1)]))
    assert math.isnan(found.rate) and found.layers == []
    assert re.search("No LC rate: .*of more than one pixel.$", str(found))


@pytest.mark.parametrize("sides", [1, 3])
def test_convolutions_of_other_dimensions_count_as_those_of_images(sides):
    convolution = getattr(keras.layers, f"Conv{sides}D")
    mixing = getattr(keras.layers, f"Conv{sides}DTranspose")
    scaling = convolution(4, 1, groups=4, name="scaling")
    layers = [convolution(4, 3, name="first"), scaling, mixing(6, 1, name="mixing")]
    last = convolution(3, 2, name="last")
    found = lc_rate(keras.Sequential([keras.Input((*[6] * sides, 4)), *layers, last])).layers
    assert [row["layer"] for row in found] == ["first", "last"]
    assert [row["kernel_size"] for row in found] == ["x".join("3" * sides), "x".join("2" * sides)]
    assert found[0]["followers"] == ["mixing"] and found[0]["combined"] == "all"
    assert found[1]["combined"] == "none"


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (keras.layers.Conv2DTranspose(5, 3, name="conv"), (8, 8, 4)),
        (keras.layers.ConvLSTM2D(5, 3, name="conv"), (2, 8, 8, 4)),
        (keras.layers.DepthwiseConv2D((1, 2), name="conv"), (8, 8, 4)),
        (keras.layers.SeparableConv2D(5, 3, name="conv"), (8, 8, 4)),
    ],
    ids=["Conv2DTranspose", "ConvLSTM2D", "DepthwiseConv2D", "SeparableConv2D"],
)
def test_the_layers_are_those_of_the_filter_report(layer, shape):
    model = keras.Sequential([keras.Input(shape), layer])
    (row,) = filter_report(model)
    (counted,) = lc_rate(model).layers
    assert (row["layer"], row["type"]) == (counted["layer"], counted["type"])
    assert row["kernel_size"] == counted["kernel_size"]


def test_a_model_without_a_graph_is_refused():
    class Subclassed(keras.Model):
        def call(self, x):
            return x

    with pytest.raises(ValueError, match="has no graph of layers to follow"):
        lc_rate(Subclassed())

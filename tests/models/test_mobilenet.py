"""The MobileNets: torchvision's parameters and logits, with every spatial operator."""

import functools

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc import spatial
from keras_lc.layers.accelerated import keras_class
from tests.models import torch_mobilenet
from tests.models.torch_networks import (
    NETWORKS,
    SMALL_NETWORKS,
    Network,
    compare,
    count,
    in_float64,
    pictures,
)

pytestmark = pytest.mark.large

NAMES = ["mobilenet_v2", "mobilenet_v3_large"]
TWINS = [
    (keras_lc.MobileNetV2, torch_mobilenet.MobileNetV2),
    (keras_lc.MobileNetV3Large, torch_mobilenet.MobileNetV3Large),
]
# JAX takes 13 s to compile one: there, each is compared at one resolution.
IS_JAX = keras.backend.backend() == "jax"
BUILDERS = [keras_lc.MobileNetV2, keras_lc.MobileNetV3Large]


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_torchvision(name):
    model = NETWORKS[name].build()
    assert model.name == name
    assert count(model.trainable_variables) == NETWORKS[name].parameters


@pytest.mark.parametrize("multiplier", [0.35, 1.4])
def test_width_multiplier_of_v2_is_that_of_keras_applications(multiplier):
    model = keras_lc.MobileNetV2(width_multiplier=multiplier)
    theirs = keras.applications.MobileNetV2(alpha=multiplier, weights=None)
    assert count(model.trainable_variables) == count(theirs.trainable_variables)


def test_width_multiplier_of_v3_rounds_to_multiples_of_8_but_not_far_down():
    model = keras_lc.MobileNetV3Large(width_multiplier=0.5, input_shape=(32, 32, 3))
    filters = [layer.filters for layer in model.layers if layer.name.endswith("_conv3")]
    assert filters == [8, 16, 16, 24, 24, 24, 40, 40, 40, 40, 56, 56, 80, 80, 80]
    layers = ("stem_conv", "block3_conv1", "block3_squeeze_conv1", "head_conv")
    assert [model.get_layer(name).filters for name in layers] == [8, 40, 16, 480]
    assert model.get_layer("hidden").units == 640


@pytest.mark.parametrize("name", NAMES[1:] if IS_JAX else NAMES)
def test_logits_are_those_of_pytorch(name):
    _, logits, expected, _ = compare(NETWORKS[name], pictures(2, 32), classes=10)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.once
@pytest.mark.parametrize("name", ["mobilenetv2_100", "mobilenetv3_large_100"])
def test_timms_weights_give_timms_logits(name):
    model, logits, expected, _ = compare(NETWORKS[name], pictures(2, 32), classes=10)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert model.get_layer("stem_bn").epsilon == 1e-5


@pytest.mark.parametrize(("build", "twin"), TWINS[:1] if IS_JAX else TWINS)
def test_low_resolution_logits_are_those_of_pytorch(build, twin):
    network = Network(functools.partial(build, spatial="frozen"), twin, None)
    model, logits, expected, _ = compare(network, pictures(2, 16), classes=10, low_resolution=True)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert model.get_layer("stem_conv").output.shape[1:3] == (16, 16)
    assert model.get_layer("head_conv").output.shape[1:3] == (2, 2)


def test_weights_of_the_lc_authors_give_their_logits():
    network = SMALL_NETWORKS["lowres_mobilenet_v2"]
    with in_float64():
        model, logits, expected, _ = compare(network, pictures(2, 16))
    assert count(model.trainable_variables) == network.parameters
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-6)


def small(build, **arguments):
    defaults = {"width_multiplier": 0.25, "low_resolution": True, "classes": 10, "seed": 1}
    return build(**{**defaults, "input_shape": (16, 16, 3), **arguments})


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(
    ("operator", "stem", "depthwise"),
    [
        ("learned", keras.layers.Conv2D, keras.layers.DepthwiseConv2D),
        ("frozen", keras_lc.FrozenConv2D, keras_lc.layers.FrozenDepthwiseConv2D),
        (spatial.LC(2), keras_lc.LCConv2D, keras_lc.LCConv2D),
        (
            spatial.LC(2, between="relu"),
            keras_lc.layers.LCBlock,
            keras_lc.layers.LCBlock,
        ),
        ("max", keras.layers.Conv2D, None),
    ],
)
def test_the_operator_stands_in_every_block_and_in_the_stem(build, operator, stem, depthwise):
    model = small(build, spatial=operator)
    blocks = [layer for layer in model.layers if layer.name.endswith("_conv3")]
    places = [layer for layer in model.layers if layer.name.endswith("_conv2")]
    places = [layer for layer in places if "squeeze" not in layer.name]
    assert keras_class(model.get_layer("stem_conv")) is stem
    assert [keras_class(layer) for layer in places] == [depthwise] * len(blocks) * bool(depthwise)


@pytest.mark.parametrize("build", BUILDERS)
def test_folded_lc_network_has_the_layers_of_the_plain_one(build):
    folded = keras_lc.fold(small(build, spatial=spatial.LC(2)))
    plain = small(build)
    kinds = [[(keras_class(layer), layer.name) for layer in net.layers] for net in (folded, plain)]
    assert kinds[0] == kinds[1]
    assert count(folded.trainable_variables) == count(plain.trainable_variables)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"spatial": "frozen"}, "mobilenet_v2_frozen"),
        ({"spatial": spatial.LC(8)}, "mobilenet_v2_lc_x8"),
        ({"low_resolution": True}, "mobilenet_v2_low_resolution"),
        ({"low_resolution": True, "width_multiplier": 0.5}, "mobilenet_v2_050_low_resolution"),
        ({"width_multiplier": 0.354}, "mobilenet_v2_0354"),
        ({"spatial": "hybrid", "width_multiplier": 0.5}, "mobilenet_v2_050_hybrid"),
        ({"spatial": spatial.LC(8), "width_multiplier": 1.4}, "mobilenet_v2_lc_140_x8"),
        ({"name": "mine"}, "mine"),
    ],
)
def test_models_are_named_after_the_papers(arguments, name):
    assert keras_lc.MobileNetV2(input_shape=(32, 32, 3), **arguments).name == name


def test_stochastic_depth_leaves_out_blocks_with_a_shortcut():
    model = keras_lc.MobileNetV2(stochastic_depth=0.16, input_shape=(32, 32, 3))
    rates = {
        layer.name: layer.rate
        for layer in model.layers
        if isinstance(layer, keras_lc.layers.StochasticDepth)
    }
    with_shortcut = [2, 4, 5, 7, 8, 9, 11, 12, 14, 15]
    assert list(rates) == [f"block{number}_drop" for number in with_shortcut]
    np.testing.assert_allclose(list(rates.values()), [0.01 * number for number in with_shortcut])


@pytest.mark.parametrize("build", BUILDERS)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width_multiplier": 0}, r"`width_multiplier` must be .*width_multiplier=0"),
        ({"width_multiplier": "1"}, r"`width_multiplier` must be .*width_multiplier='1'"),
        ({"spatial": "pool"}, r"`spatial` must be one of .*'pool'"),
        ({"stochastic_depth": -0.1}, r"`stochastic_depth` must be .*-0\.1"),
        ({"input_shape": (32,)}, r"`input_shape` must have 3 axes"),
    ],
)
def test_bad_arguments_are_named(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        small(build, **arguments)

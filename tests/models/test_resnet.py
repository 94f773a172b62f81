"""The ResNets of ImageNet: torchvision's and timm's parameters and logits, the paper's FLOPs."""

import keras
import numpy as np
import pytest

import keras_lc
from keras_lc import spatial
from keras_lc.layers.accelerated import keras_class
from tests import oracles
from tests.models import torch_resnet
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

RESNETS = {name: net for name, net in NETWORKS.items() if net.build.func is keras_lc.ResNet}
# JAX takes 10 s to compile a network with bottlenecks; those left out differ in numbers alone.
CORE = ("resnet_18", "resnet_18d", "resnet_50_max", "resnet_50_hybrid")
COMPARED = CORE if keras.backend.backend() == "jax" else tuple(RESNETS)


@pytest.mark.parametrize("name", [name for name in RESNETS if RESNETS[name].parameters])
def test_parameters_are_those_of_torchvision_and_timm(name):
    model = RESNETS[name].build()
    assert model.name == name
    assert count(model.trainable_variables) == RESNETS[name].parameters


@pytest.mark.parametrize("name", COMPARED)
def test_logits_are_those_of_pytorch(name):
    network = RESNETS[name]
    # A size that halves five times: the hybrid's average-pool drops an odd row in PyTorch.
    images = pictures(2, 32)
    narrow = {"width": 8} if network.takes_width else {}
    _, logits, expected, _ = compare(network, images, classes=10, **narrow)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("depth", "variant", "twin"),
    [
        (14, None, (torch_resnet.BasicBlock, (2, 2, 2))),
        (14, "d", (torch_resnet.BasicBlock, (2, 2, 2), {"deep": True})),
    ],
)
def test_low_resolution_logits_are_those_of_pytorch(depth, variant, twin):
    block, layers, *options = twin

    def make_twin(**arguments):
        return torch_resnet.ResNet(block, layers, **arguments, **(options or [{}])[0])

    def build(**arguments):
        return keras_lc.ResNet(depth, variant, **arguments)

    # An odd size: the average-pool of a shortcut then has a row left over.
    _, logits, expected, _ = compare(
        Network(build, make_twin, None), pictures(2, 27), width=8, classes=10, low_resolution=True
    )
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-5)


LOWRES = [name for name in SMALL_NETWORKS if name.startswith(("lowres_resnet", "lowres_wide"))]


@pytest.mark.parametrize("name", LOWRES)
def test_small_images_networks_have_the_parameters_of_the_lc_authors(name):
    model = SMALL_NETWORKS[name].build(input_shape=(32, 32, 3))
    assert count(model.trainable_variables) == SMALL_NETWORKS[name].parameters


@pytest.mark.parametrize("name", ["lowres_resnet14", "lowres_resnet50", "lowres_wide_resnet50_2"])
def test_weights_of_the_lc_authors_give_their_logits(name):
    with in_float64():
        _, logits, expected, _ = compare(SMALL_NETWORKS[name], pictures(2, 32), width=8)
    assert np.abs(expected).max() > 0.05
    np.testing.assert_allclose(logits, expected, atol=1e-6)


def test_without_the_stem_pool_logits_are_those_of_pytorch():
    network, images = SMALL_NETWORKS["lowres_resnet14"], pictures(2, 16)
    with in_float64():
        _, logits, expected, _ = compare(network, images, width=8, stem_pool=False)
        _, pooled, *_ = compare(network, images, width=8)
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    assert np.abs(pooled - logits).max() > 0.01


@pytest.mark.parametrize(
    ("arguments", "stem", "stage1", "features"),
    [
        ({}, 16, 8, 1),
        ({"stem_pool": False}, 16, 16, 2),
        ({"low_resolution": True}, 32, 16, 2),
        ({"low_resolution": True, "stem_pool": False}, 32, 32, 4),
        ({"low_resolution": True, "stem_pool": False, "variant": "d"}, 32, 32, 4),
    ],
)
def test_stem_and_its_pool_each_halve_the_images_or_not(arguments, stem, stage1, features):
    model = keras_lc.ResNet(18, width=4, input_shape=(32, 32, 3), **arguments)
    last_of_stem = next(x for x in model.layers if x.name in ("stem_relu", "stem_relu3"))
    assert last_of_stem.output.shape[1:3] == (stem, stem)
    assert model.get_layer("stage1_block0_add").output.shape[1:3] == (stage1, stage1)
    assert model.layers[-3].output.shape[1:3] == (features, features)


def multiply_adds(model):
    """Of all convolutions and matrix products for one image."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            total += int(np.prod(layer.kernel.shape))
        elif isinstance(layer, keras.layers.Conv2D):
            total += int(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3]))
    return total


def test_resnet_26_is_timms():
    assert count(keras_lc.ResNet(26).trainable_variables) == 15_995_176


@pytest.mark.parametrize(
    ("operator", "millions", "gigaflops"),
    # Han et al., 2022: parameters and FLOPs, to the digits given.
    [("learned", 25.6, 4.1), ("max", 14.2, 2.2), ("hybrid", 17.3, 2.6)],
)
def test_resnet_50_costs_what_the_parameter_free_paper_says(operator, millions, gigaflops):
    model = keras_lc.ResNet(50, spatial=operator)
    assert round(count(model.trainable_variables) / 1e6, 1) == millions
    assert multiply_adds(model) == pytest.approx(gigaflops * 1e9, rel=0.03)


def test_max_pools_stand_for_the_convolutions_of_bottlenecks_and_what_follows_them():
    names = {layer.name for layer in keras_lc.ResNet(50, spatial="max").layers}
    assert {"stem_conv", "stage2_block0_conv2_pad", "stage2_block0_conv2_pool"} <= names
    assert not any(name.endswith(("_conv2", "_bn2", "_relu2")) for name in names)


def test_hybrid_has_convolutions_where_the_size_changes_alone():
    model = keras_lc.ResNet(50, spatial="hybrid")
    convolutions = [layer.name for layer in model.layers if layer.name.endswith("_conv2")]
    assert convolutions == [f"stage{stage}_block0_conv2" for stage in (2, 3, 4)]
    pools = [layer for layer in model.layers if layer.name.endswith("_conv2_pool")]
    assert len(pools) == 16
    averaging = [p.name for p in pools if isinstance(p, keras.layers.AveragePooling2D)]
    assert averaging == [f"{name}_pool" for name in convolutions]


@pytest.mark.parametrize(
    ("operator", "kind"),
    [("frozen", keras_lc.FrozenConv2D), (spatial.LC(expansion=2), keras_lc.LCConv2D)],
)
@pytest.mark.parametrize(("variant", "places"), [(None, 17), ("d", 19)])
def test_every_spatial_convolution_is_replaced_the_stem_too(operator, kind, variant, places):
    model = keras_lc.ResNet(18, variant, spatial=operator, width=4, input_shape=(32, 32, 3))
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    seen = [type(layer) for layer in convolutions if layer.kernel_size != (1, 1)]
    assert seen == [kind] * places
    shortcuts = [layer for layer in convolutions if layer.kernel_size == (1, 1)]
    assert len(shortcuts) == 3 and {keras_class(layer) for layer in shortcuts} == {
        keras.layers.Conv2D
    }


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"depth": 18, "variant": "d", "spatial": spatial.LC(2)}, "resnet_lc_18d_x2"),
        ({"depth": 18, "variant": "d", "spatial": "frozen"}, "resnet_18d_frozen"),
        ({"depth": 50, "spatial": "max"}, "resnet_50_max"),
        ({"depth": 50, "spatial": "hybrid"}, "resnet_50_hybrid"),
        ({"depth": 50, "variant": "wide", "spatial": "lc"}, "wide_resnet_lc_50_2_x1"),
        ({"depth": 18, "width": 16}, "resnet_18_w16"),
        ({"depth": 18, "low_resolution": True}, "resnet_18_low_resolution"),
        ({"depth": 14, "low_resolution": True, "spatial": "frozen"}, "resnet_14_frozen"),
        ({"depth": 18, "stem_pool": False}, "resnet_18_no_stem_pool"),
        (
            {"depth": 14, "low_resolution": True, "stem_pool": False},
            "resnet_14_no_stem_pool",
        ),
        (
            {"depth": 18, "low_resolution": True, "spatial": spatial.LC(2, frozen=False)},
            "resnet_lc_learnable_18_low_resolution_x2",
        ),
        ({"depth": 18, "name": "mine"}, "mine"),
    ],
)
def test_models_are_named_after_the_papers(arguments, name):
    assert keras_lc.ResNet(input_shape=(32, 32, 3), **arguments).name == name


def small(**arguments):
    defaults = {"depth": 14, "low_resolution": True, "width": 4, "classes": 10, "seed": 1}
    return keras_lc.ResNet(**{**defaults, "input_shape": (16, 16, 3), **arguments})


def test_layer_names_are_stable():
    model = small(variant="d", stochastic_depth=0.1)
    names = [layer.name for layer in model.layers]
    assert names[:13] == [
        *("images", "normalization", "stem_conv1", "stem_bn1", "stem_relu1", "stem_conv2"),
        *("stem_bn2", "stem_relu2", "stem_conv3", "stem_bn3", "stem_relu3", "stem_pool_pad"),
        "stem_pool",
    ]
    assert [name for name in names if name.startswith("stage2_block0")] == [
        *("stage2_block0_conv1_pad", "stage2_block0_conv1", "stage2_block0_bn1"),
        *("stage2_block0_relu1", "stage2_block0_conv2", "stage2_block0_shortcut_pool"),
        *("stage2_block0_bn2", "stage2_block0_shortcut_conv", "stage2_block0_drop"),
        *("stage2_block0_shortcut_bn", "stage2_block0_add", "stage2_block0_relu2"),
    ]
    assert names[-2:] == ["pool", "classifier"]


def test_stochastic_depth_drops_later_blocks_more_often():
    model = small(stochastic_depth=0.5)
    drops = [x for x in model.layers if isinstance(x, keras_lc.layers.StochasticDepth)]
    np.testing.assert_allclose([x.rate for x in drops], [0.1, 0.2, 0.3, 0.4, 0.5])
    assert len({x.seed for x in drops}) == 5
    x = pictures(2, 16)
    inactive = oracles.numpy(model(x, training=False))
    np.testing.assert_array_equal(inactive, oracles.numpy(small()(x, training=False)))
    assert not any("drop" in layer.name for layer in small().layers)


def test_one_seed_determines_all_weights():
    first, second, other = (small(spatial="lc", seed=seed).get_weights() for seed in (5, 5, 6))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != c).any() for a, c in zip(first, other, strict=True))


@pytest.mark.parametrize(
    ("low_resolution", "mean", "std"),
    [
        (False, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        (True, (125.3069, 122.9504, 113.8654), (62.9932, 62.0887, 66.7049)),
    ],
)
def test_images_are_normalised_by_the_statistics_of_their_size(low_resolution, mean, std):
    model = keras_lc.ResNet(18, width=4, low_resolution=low_resolution)
    layer = model.get_layer("normalization")
    np.testing.assert_allclose(np.ravel(layer.mean), mean, rtol=1e-5)
    np.testing.assert_allclose(np.ravel(layer.variance) ** 0.5, std, rtol=1e-5)


def test_every_argument_survives_saving(tmp_path):
    model = small(
        variant="d", spatial=spatial.LC(expansion=3), classes=7, mean=100.0, std=50.0,
        augmentation="crop_flip", stochastic_depth=0.2, classifier_activation="softmax",
    )  # fmt: skip
    for variable in model.weights:
        if variable.trainable or "moving" in variable.name:
            variable.assign(variable + 0.1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = pictures(2, 16)
    assert (loaded.name, loaded.seed) == (model.name, model.seed)
    for training in (False, True):
        np.testing.assert_allclose(
            oracles.numpy(loaded(x, training=training)),
            oracles.numpy(model(x, training=training)),
            rtol=1e-6,
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 20}, r"`depth` must be one of \[14, 18, 26, 34, 50, 101\].*depth=20"),
        ({"low_resolution": False}, r"`depth=14` .*Pass `low_resolution=True`"),
        ({"variant": "e"}, r"`variant` must be one of \[None, 'd', 'next', 'wide'\].*'e'"),
        ({"variant": "next"}, r"'next'` needs bottlenecks.*\[26, 50, 101\].*depth=14"),
        ({"depth": 34, "variant": "wide"}, r"'wide'` needs bottlenecks.*depth=34"),
        ({"depth": 50, "variant": "next", "width": 32}, r"multiple of 64.*width=32"),
        ({"width": 0}, r"`width` must be a positive multiple of 2.*width=0"),
        ({"spatial": "max"}, r"basic blocks.*depth 26, 50 or 101"),
        ({"depth": 18, "spatial": "hybrid"}, r"basic blocks.*depth 26, 50 or 101"),
        ({"spatial": "avg"}, r"`spatial` must be one of .*'max', 'average', .*'avg'"),
        ({"input_shape": (32, 32)}, r"`input_shape` must have 3 axes.*\(32, 32\)"),
        ({"stochastic_depth": 1.0}, r"`stochastic_depth` must be .*stochastic_depth=1\.0"),
        ({"classes": 0}, r"`classes` must be at least 1.*classes=0"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        small(**arguments)

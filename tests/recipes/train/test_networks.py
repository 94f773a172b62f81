"""The network that the arguments of a run ask for."""

import dataclasses
import typing

import pytest

import keras_lc
from recipes.common.settings import MORE_NETWORKS
from recipes.common.settings import Settings as Arguments
from recipes.reproduce.numbers import NETWORKS
from recipes.sweep.grid import Cell, Grid
from recipes.train.networks import build

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def digits():
    return keras_lc.data.load("digits")


@pytest.mark.parametrize(
    ("settings", "operator"),
    [
        ({"spatial": "learned"}, keras_lc.spatial.Learned()),
        ({"spatial": "frozen"}, keras_lc.spatial.Frozen()),
        ({"expansion": 3, "compact": True}, keras_lc.spatial.LC(3, compact=True)),
        ({"expansion": 2, "between": "bn"}, keras_lc.spatial.LC(2, between="bn")),
        ({"frozen": False}, keras_lc.spatial.LC(frozen=False)),
        ({"shared_basis": True}, keras_lc.spatial.LC(shared=True)),
        ({"spatial": "gram_limit", "expansion": 8}, keras_lc.spatial.GramLimit(8)),
    ],
)
def test_spatial_operator_is_that_of_the_arguments(settings, operator, digits):
    arguments = Arguments(depth=8, width=4, kernel_size=5, seed=3, **settings)
    model = build(arguments, digits)
    same = keras_lc.CIFARResNet(
        8, 4, operator, 5, input_shape=(32, 32, 1), augmentation=None, seed=3,
        mean=digits.mean, std=digits.std,
    )  # fmt: skip
    assert model.get_config() == same.get_config()


@pytest.mark.parametrize(
    ("dataset", "settings", "layers"),
    [
        ("cifar10", {}, [keras_lc.RandomCropFlip]),
        ("cifar10", {"augmentation": "none"}, []),
        ("cifar10", {"image_size": 32}, [keras_lc.RandomResizedCropFlip]),
        ("digits", {}, []),
        ("digits", {"augmentation": "crop_flip"}, [keras_lc.RandomCropFlip]),
        ("digits", {"image_size": 32, "augmentation": "crop_flip"}, [keras_lc.RandomCropFlip]),
        ("digits", {"augmentation": "resized_crop_flip"}, [keras_lc.RandomResizedCropFlip]),
    ],
)
def test_augmentation_is_the_papers_unless_chosen(dataset, settings, layers, digits):
    data = dataclasses.replace(digits, name=dataset)
    model = build(Arguments(depth=8, width=4, **settings), data)
    assert [type(layer) for layer in model.layers if "crop_flip" in layer.name] == layers


@pytest.mark.parametrize(
    ("network", "size", "side"),
    [("resnet18", None, 2), ("resnet18", 63, 2), ("resnet18", 64, 1), ("resnet14", 64, 4)],
)
def test_photos_get_the_full_version_if_there_is_one(network, size, side, digits):
    arguments = Arguments(network=network, width_multiplier=0.1, image_size=size)
    model = build(arguments, digits)
    assert model.get_layer("pool").input.shape[1] == side


def test_figure_1_names_the_networks_that_there_are():
    annotation = typing.get_type_hints(Arguments)["network"]
    assert set(typing.get_args(annotation)) == {*NETWORKS, "resnet26", *MORE_NETWORKS}
    cells = Grid(networks=tuple(NETWORKS), operators=("learned", "frozen")).cells()
    assert {cell.network for cell in cells} == set(NETWORKS)
    assert Cell(network="resnet14", depth=8).depth is None


@pytest.mark.parametrize(
    ("network", "builder"),
    [
        ("resnet14", lambda **k: keras_lc.ResNet(14, width=16, **k)),
        ("resnet26", lambda **k: keras_lc.ResNet(26, width=16, **k)),
        ("mobilenet_v2", lambda **k: keras_lc.MobileNetV2(width_multiplier=0.25, **k)),
    ],
)
def test_off_the_shelf_networks_can_be_narrower(network, builder, digits):
    arguments = Arguments(network=network, width_multiplier=0.25, spatial="frozen", seed=1)
    same = builder(
        spatial="frozen", low_resolution=True, input_shape=(32, 32, 1), classes=10,
        mean=digits.mean, std=digits.std, seed=1,
    )  # fmt: skip
    assert build(arguments, digits).get_config() == same.get_config()


def test_off_the_shelf_network_is_its_version_for_small_images(digits):
    model = build(Arguments(network="resnet14", spatial="frozen", seed=1), digits)
    same = keras_lc.ResNet(
        14, spatial="frozen", low_resolution=True, input_shape=(32, 32, 1), classes=10,
        mean=digits.mean, std=digits.std, seed=1,
    )  # fmt: skip
    assert model.get_config() == same.get_config()
    assert model.get_layer("stem_conv").strides == (1, 1)

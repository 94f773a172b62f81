"""Builds the network of a run from its arguments. Imports Keras."""

import keras

import keras_lc

from ..common.operator import operator
from ..common.settings import SMALL_NETWORKS, settings_of
from .transfer import is_ours, start_from, statistics

# The versions for small images are those of the LC paper, Section 3.
_RESNETS = {
    "resnet14": {"depth": 14},
    "resnet18": {"depth": 18},
    "resnet26": {"depth": 26},
    "resnet34": {"depth": 34},
    "resnet50": {"depth": 50},
    "resnet101": {"depth": 101},
    "wide_resnet50_2": {"depth": 50, "variant": "wide"},
    "resnet18d": {"depth": 18, "variant": "d"},
    "resnet50d": {"depth": 50, "variant": "d"},
    "resnext50_32x4d": {"depth": 50, "variant": "next"},
}

_MOBILENETS = {
    "mobilenet_v2": keras_lc.MobileNetV2,
    "mobilenet_v3_large": keras_lc.MobileNetV3Large,
}
# From this side on, the first layers reduce the image's size, as in the versions for ImageNet.
_FULL_SIZE = 64


def build(arguments, dataset: keras_lc.data.Dataset) -> keras.Model:
    """Returns the network for the arguments of `recipes.train` and the images of a data set."""
    model = _new(arguments, dataset)
    if arguments.weights is None:
        return model
    return start_from(model, arguments.weights, arguments.train)


def _new(arguments, dataset):
    common = {
        "spatial": operator(arguments),
        "input_shape": dataset.image_shape,
        "classes": dataset.num_classes,
        **statistics(arguments.weights, dataset),
        "augmentation": _augmentation(arguments, dataset),
        "data_format": "channels_last",
        "seed": arguments.seed,
    }
    if arguments.network == "cifar_resnet":
        own = {
            name: getattr(arguments, name)
            for name, setting in settings_of(arguments).items()
            if arguments.network in setting.only_on
        }
        return keras_lc.CIFARResNet(**own, **common)
    common["low_resolution"] = _is_low(arguments)
    if arguments.network in _MOBILENETS:
        build = _MOBILENETS[arguments.network]
        return build(width_multiplier=arguments.width_multiplier, **common)
    width = round(64 * arguments.width_multiplier)
    return keras_lc.ResNet(**_RESNETS[arguments.network], width=width, **common)


def _is_low(arguments):
    if arguments.resolution != "auto" or arguments.network in SMALL_NETWORKS:
        return arguments.resolution != "full"
    if arguments.weights is not None and not is_ours(arguments.weights):
        return False
    return arguments.image_size is None or arguments.image_size < _FULL_SIZE


def _augmentation(arguments, dataset):
    if arguments.augmentation == "auto":
        if arguments.image_size is not None:
            return "resized_crop_flip"
        return "crop_flip" if dataset.name.startswith("cifar") else None
    return None if arguments.augmentation == "none" else arguments.augmentation

"""Builds the network of a run from its arguments. Imports Keras."""

import keras

import keras_lc

from ..common.operator import operator
from ..common.settings import settings_of

# The versions for small images (LC paper, Section 3).
_RESNETS = {
    "resnet14": {"depth": 14},
    "resnet18": {"depth": 18},
    "resnet26": {"depth": 26},
    "resnet34": {"depth": 34},
    "resnet50": {"depth": 50},
    "resnet101": {"depth": 101},
    "wide_resnet50_2": {"depth": 50, "variant": "wide"},
}
# Has no version for ImageNet.
_ONLY_SMALL = ("resnet14",)
# From this side on, the first layers reduce the image's size, as in the versions for ImageNet.
_FULL_SIZE = 64


def build(arguments, dataset: keras_lc.data.Dataset) -> keras.Model:
    """Returns the network for the arguments of `recipes.train` and the images of a data set."""
    common = {
        "spatial": operator(arguments),
        "input_shape": dataset.image_shape,
        "classes": dataset.num_classes,
        "mean": dataset.mean,
        "std": dataset.std,
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
    full_size = arguments.image_size is not None and arguments.image_size >= _FULL_SIZE
    common["low_resolution"] = not full_size or arguments.network in _ONLY_SMALL
    if arguments.network == "mobilenet_v2":
        return keras_lc.MobileNetV2(width_multiplier=arguments.width_multiplier, **common)
    width = round(64 * arguments.width_multiplier)
    return keras_lc.ResNet(**_RESNETS[arguments.network], width=width, **common)


def _augmentation(arguments, dataset):
    if arguments.augmentation == "auto":
        if arguments.image_size is not None:
            return "resized_crop_flip"
        return "crop_flip" if dataset.name.startswith("cifar") else None
    return None if arguments.augmentation == "none" else arguments.augmentation
